"""Documents of older versions: carried over whole, or refused with path, value and rule."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livermore_dagster.accounts.migrations import STEPS
from livermore_dagster.accounts.settings import parse_document
from livermore_dagster.accounts.settings_document import DOCUMENT_VERSION
from livermore_dagster.errors import SettingsRefused

KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
FIRST = st.lists(
    st.fixed_dictionaries(
        {
            "exchange": st.sampled_from(["binance", "coinbase"]),
            "symbol": st.text("ABC-", min_size=1, max_size=9),
        },
        optional={"enabled": st.booleans()},
    ),
    unique_by=lambda one: (one["exchange"], one["symbol"]),
    max_size=8,
)


def test_there_is_a_step_from_every_older_version() -> None:
    assert sorted(STEPS) == list(range(1, DOCUMENT_VERSION))


@settings(max_examples=60)
@given(FIRST)
def test_a_version_1_document_loses_nothing(listed: list[dict[str, object]]) -> None:
    whole = {"version": 1, "alerts": {"cooldown_s": 900}, "symbols": listed}
    document = parse_document(json.dumps(whole))
    assert document.version == DOCUMENT_VERSION
    assert document.alerts.cooldown_s == 900
    kept = [
        (exchange, symbol, one.enabled)
        for exchange, symbols in document.symbols.items()
        for symbol, one in symbols.items()
    ]
    given_ = [(one["exchange"], one["symbol"], one.get("enabled", True)) for one in listed]
    assert sorted(kept) == sorted(given_)
    assert parse_document(document.model_dump_json()) == document


def test_a_document_without_a_version_is_of_the_newest() -> None:
    assert parse_document("{}").version == DOCUMENT_VERSION
    with pytest.raises(SettingsRefused, match="symbols is "):
        parse_document('{"symbols": []}')


@pytest.mark.parametrize(
    ("whole", "path", "shown", "rule"),
    [
        ({"version": 3}, "version", "3", "up to 2: bring it up to date"),
        ({"version": 0}, "version", "0", "versions 1 to 2"),
        ({"version": "1"}, "version", '"1"', "versions 1 to 2"),
        ({"version": True}, "version", "true", "versions 1 to 2"),
        ({"version": 1, "symbols": {}}, "symbols", "an object", "a list of"),
        ({"version": 1, "symbols": ["BTCUSDT"]}, "symbols.0", '"BTCUSDT"', "must be {exchange"),
        ({"version": 1, "symbols": [KEY]}, "symbols.0", "(hidden)", "must be {exchange"),
        ({"version": 1, "symbols": [{"symbol": "A"}]}, "symbols.0.exchange", "null", "must be text"),
        (
            {"version": 1, "symbols": [{"exchange": "binance", "symbol": "A", "on": 1}]},
            "symbols.binance.A.on",
            "1",
            "there is no such setting",
        ),
        (
            {"version": 1, "symbols": [{"exchange": "binance", "symbol": "A"}] * 2},
            "symbols.1",
            '"A"',
            "more than once",
        ),
    ],
)
def test_what_cannot_be_carried_over_is_refused(
    whole: dict[str, object], path: str, shown: str, rule: str
) -> None:
    with pytest.raises(SettingsRefused) as refused:
        parse_document(json.dumps(whole))
    ((place, value, why),) = refused.value.problems
    assert (place, value) == (path, shown)
    assert rule in why
