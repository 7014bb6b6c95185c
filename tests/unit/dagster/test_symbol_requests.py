"""Which runs symbol events ask for, and the picture of volumes."""

from __future__ import annotations

import dagster as dg

from assets.symbols import symbol_checks
from assets.symbols_picture import volumes_markdown
from livermore_dagster.resources import SYMBOLS_REASON_TAG
from livermore_dagster.stores.postgres.symbols import SymbolRow
from livermore_dagster.stores.redis.symbol_events import SymbolEvent
from sensors.symbol_universe import newest_by_exchange, run_request


def test_one_run_per_exchange_by_the_newest_reason_that_asks_anew() -> None:
    events = [
        SymbolEvent(2, "request", 1, entry_id="1-0"),
        SymbolEvent(2, "start", 2, entry_id="2-0"),
        SymbolEvent(1, "start", 3, entry_id="3-0"),
        SymbolEvent(1, "doubt", 4, "OLD-USD", "refused", entry_id="4-0"),
        SymbolEvent(1, "start", 5, entry_id="5-0"),
    ]
    assert [(one.exchange_id, one.kind) for one in newest_by_exchange(events)] == [
        (1, "doubt"),
        (2, "request"),
    ]


def test_a_run_is_the_exchanges_and_says_why() -> None:
    request = run_request(SymbolEvent(1, "day", 1, entry_id="7-0"))
    assert request.partition_key == "coinbase"
    assert request.asset_selection == [dg.AssetKey(["symbols"])]
    assert request.tags[SYMBOLS_REASON_TAG] == "day"
    names = {key.name for key in request.asset_check_keys or []}
    assert names == {key.name for key in symbol_checks().check_keys if key.name.endswith("_coinbase")}
    assert request.run_key == "symbols:coinbase:7-0"


def test_the_picture_names_what_it_draws_safely_and_says_when_there_is_nothing() -> None:
    row = SymbolRow("A<B-USD", "A<B", "USD", True, None, "1000000", liquidity_grade="B", volume_rank=1)
    assert volumes_markdown("x", [row]).startswith("![x](data:image/svg+xml;base64,")
    assert "No volumes" in volumes_markdown("x", [])
