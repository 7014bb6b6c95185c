"""Settings documents: what goes out comes in again, identical, and every difference has its path."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livermore_dagster.accounts.settings import differences, parse_document
from livermore_dagster.accounts.settings_document import SettingsDocument
from livermore_dagster.errors import SettingsRefused
from livermore_dagster.market.timeframe import Timeframe

NAMES = st.sampled_from(["binance", "coinbase", "kraken"])
MUTES = st.builds(
    lambda exchange, timeframe, until: {"exchange": exchange, "timeframe": timeframe, "until_ms": until},
    NAMES,
    st.none() | st.sampled_from([timeframe.value for timeframe in Timeframe]),
    st.none() | st.integers(0, 253_402_300_799_999),
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "profile": st.fixed_dictionaries({}, optional={"description": st.text(max_size=50)}),
        "exchanges": st.dictionaries(NAMES, st.just({"key_env": "K", "secret_env": "S"})),
        "symbols": st.dictionaries(
            NAMES,
            st.dictionaries(
                st.text("AB", min_size=1, max_size=60), st.just({}) | st.just({"enabled": False}), max_size=4
            ),
        ),
        "alerts": st.fixed_dictionaries(
            {},
            optional={
                "mutes": st.lists(MUTES, max_size=3),
                "quiet_hours": st.lists(st.just({"start": "22:00", "end": "07:30"}), max_size=2),
                "cooldown_s": st.integers(300, 86_400),
            },
        ),
    },
)  # fmt: skip


def document(whole: dict[str, object]) -> SettingsDocument:
    return parse_document(json.dumps(whole))


@settings(max_examples=60)
@given(DOCUMENTS)
def test_an_export_is_imported_identically(whole: dict[str, object]) -> None:
    first = document(whole)
    text = first.model_dump_json()
    again = parse_document(text)
    assert again == first
    assert again.model_dump_json() == text
    assert differences(first, again) == []


@settings(max_examples=60)
@given(DOCUMENTS, DOCUMENTS)
def test_differences_are_empty_exactly_for_equal_documents(
    one: dict[str, object], other: dict[str, object]
) -> None:
    before, after = document(one), document(other)
    assert (differences(before, after) == []) == (before == after)
    assert {path for path, _, _ in differences(before, after)} == {
        path for path, _, _ in differences(after, before)
    }


WEBHOOK = "https://discord.com/api/webhooks/1234/Zm9vYmFy"
KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"


@pytest.mark.parametrize(
    "whole",
    [
        {"exchanges": {"binance": {"key_env": KEY}}},
        {"exchanges": {"binance": {"key_env": "short-key"}}},
        {"exchanges": {"binance": {"key": KEY}}},
        {"alerts": {"channels": [{"name": "main", "kind": "discord", "url_env": WEBHOOK}]}},
        {"alerts": {"channels": [{"kind": "discord", "url": WEBHOOK, KEY: 1}]}},
        {"alerts": {"channels": WEBHOOK}},
        {"alerts": {"enabled": f"see {KEY}"}},
    ],
)
def test_a_key_or_address_pasted_for_a_name_is_refused_and_not_repeated(whole: dict[str, object]) -> None:
    with pytest.raises(SettingsRefused) as refused:
        document(whole)
    assert "(hidden)" in str(refused.value)
    for secret in (KEY, "Zm9vYmFy", "short-key"):
        assert secret not in str(refused.value)


def test_text_that_is_no_json_is_not_repeated() -> None:
    with pytest.raises(SettingsRefused, match=r"the document is not JSON: .*line 1 column") as refused:
        parse_document(f'{{"url": "{WEBHOOK}"')
    assert "Zm9vYmFy" not in str(refused.value)


def test_brackets_without_end_are_no_settings() -> None:
    with pytest.raises(SettingsRefused, match="not JSON"):
        parse_document('{"alerts":' + "[" * 30_000 + "]" * 30_000 + "}")


def test_another_refused_value_is_shown() -> None:
    with pytest.raises(SettingsRefused, match=r'alerts\.cooldown_s is "5 minutes": '):
        document({"alerts": {"cooldown_s": "5 minutes"}})


@pytest.mark.parametrize(
    "whole",
    [
        {"exchanges": {"nasdaq": {}}},
        {"symbols": {"nasdaq": {"BTCUSDT": {}}}},
        {"profile": {"primary_exchange": "nasdaq"}},
        {"runtime": {"autostart": ["nasdaq"]}},
        {"alerts": {"exchanges": ["nasdaq"]}},
        {"alerts": {"mutes": [{"exchange": "nasdaq"}]}},
        {"scanner": {"exchange": "nasdaq"}},
    ],
)
def test_an_unknown_exchange_is_named_with_those_there_are(whole: dict[str, object]) -> None:
    with pytest.raises(SettingsRefused, match=r"nasdaq.*no such exchange; known are coinbase, binance,"):
        document(whole)


def test_a_mute_ends_within_the_calendar() -> None:
    with pytest.raises(SettingsRefused, match=r"until_ms is 10{18}: "):
        document({"alerts": {"mutes": [{"exchange": "binance", "until_ms": 10**18}]}})
