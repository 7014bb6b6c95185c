"""The lists hold what a platform must rank, filter and follow."""

from __future__ import annotations

import pytest

from livermore_dagster.errors import UnknownExchange
from livermore_dagster.simulator.universe import EXCHANGES, universe

ORIGIN = 1_767_655_800_000


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_quarter_of_the_twenty_best_is_sparse_one_is_listed_one_falls_silent(exchange: str) -> None:
    listings = universe(exchange, 1, ORIGIN)
    top = listings[:20]
    assert [item.quote_volume for item in top] == sorted((i.quote_volume for i in top), reverse=True)
    kinds = [item.kind for item in top]
    assert kinds.count("sparse") == 5
    assert kinds.count("listed") == kinds.count("silent") == 1
    listed = next(item for item in top if item.kind == "listed")
    assert ORIGIN + 3_600_000 < listed.plan.listed_ms < ORIGIN + 2 * 3_600_000
    silent = next(item for item in top if item.kind == "silent").plan.silent
    assert silent is not None
    assert ORIGIN + 3_600_000 < silent[0] < ORIGIN + 2 * 3_600_000 < silent[1]
    symbols = [item.symbol for item in listings]
    assert len(set(symbols)) == len(symbols) >= 50
    assert any(not item.trading for item in listings)


def test_only_the_events_of_a_run_hang_on_its_origin() -> None:
    one, other = universe("binance", 1, ORIGIN), universe("binance", 1, ORIGIN + 86_400_000)
    differing = [a.symbol for a, b in zip(one, other, strict=True) if a.plan != b.plan]
    assert differing == ["MUTEUSDT", "NOVAUSDT"]


def test_aliases_share_the_book_of_their_product() -> None:
    listings = {item.symbol: item for item in universe("coinbase", 1, ORIGIN)}
    alias = listings["BTC-USDC"]
    assert alias.alias_of == "BTC-USD"
    assert alias.plan.symbol == "BTC-USD"


def test_one_base_has_one_path_on_every_exchange() -> None:
    plans = [universe(name, 1, ORIGIN)[0].plan for name in EXCHANGES]
    assert {plan.base for plan in plans} == {"BTC"}
    assert len({plan.price for plan in plans}) == 1


def test_an_unknown_exchange_is_named() -> None:
    with pytest.raises(UnknownExchange, match="kraken"):
        universe("kraken", 1, ORIGIN)


@pytest.mark.parametrize("symbols", [1, 5, 12])
def test_a_short_list_names_no_alias_of_a_book_it_lacks(symbols: int) -> None:
    listings = universe("coinbase", 1, 0, symbols)
    listed = {listing.symbol for listing in listings}
    assert all(listing.alias_of in listed for listing in listings if listing.alias_of)
