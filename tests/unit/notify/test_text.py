"""What people read of an alert fits Discord, says everything, and is no markup."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from livermore_dagster.notify.text import alert_notice, bundled, digest_notice, plain_notice
from tests.unit.notify.alerts import BEGIN, M5, heard

URL = "https://www.binance.com/en/trade/BTCUSDT"


def size(embed: dict[str, object]) -> int:
    """Characters Discord counts."""
    fields = sum(len(one["name"]) + len(one["value"]) for one in embed.get("fields", []))  # type: ignore[attr-defined]
    texts = [embed.get("title", ""), embed.get("description", ""), embed["footer"]["text"]]  # type: ignore[index]
    return fields + sum(len(str(text)) for text in texts)


def test_an_alert_says_all_there_is(snapshot: SnapshotAssertion) -> None:
    notice = alert_notice(heard(), URL, simulated=False, chart=b"png")
    assert notice.text == snapshot(name="text")
    assert json.dumps(notice.embeds, indent=1, ensure_ascii=False) == snapshot(name="embed")


def test_marks_stand_in_the_title() -> None:
    one = heard(label="level_-200", direction="down", late=True, revised=True, attempt=3)
    notice = alert_notice(
        one, URL, simulated=True, chart=None, chart_note="without its chart: the painter died"
    )
    assert notice.title == "SIMULATED · ▼ BTCUSDT 5m · level −200 · late · revised"
    assert (
        notice.embeds[0]["footer"]["text"]
        == "Livermore · alert 7 · attempt 3 · without its chart: the painter died"
    )
    assert notice.embeds[0]["color"] == 0xEF5B6B
    assert "image" not in notice.embeds[0]
    assert notice.files == ()


@given(st.text(min_size=1, max_size=400), st.text(max_size=3_000))
def test_no_name_breaks_discords_limits_or_becomes_markup(symbol: str, reason: str) -> None:
    frames = {"1m": {"value": None, "stage": "unknown", "reason": reason}}
    one = heard(symbol=symbol, timeframes=frames)
    for notice in (
        alert_notice(one, URL, simulated=True, chart=b"x"),
        digest_notice("Binance", [one] * 80, simulated=True),
        plain_notice(symbol, reason, simulated=False),
    ):
        (embed,) = notice.embeds
        assert len(embed["title"]) <= 256
        assert len(embed.get("description", "")) <= 4_096
        assert len(embed.get("fields", [])) <= 25
        assert all(
            len(one["name"]) <= 256 and 0 < len(one["value"]) <= 1_024 for one in embed.get("fields", [])
        )
        assert size(embed) <= 6_000


@given(st.lists(st.integers(1, 900), min_size=1, max_size=30))
def test_bundles_keep_order_and_discords_limits(lengths: list[int]) -> None:
    frames = [{"1m": {"value": None, "stage": "unknown", "reason": "x" * length}} for length in lengths]
    alerts = [heard(id=n, timeframes=one) for n, one in enumerate(frames)]
    notices = [alert_notice(one, URL, simulated=False, chart=b"x") for one in alerts]
    messages = bundled(notices)
    assert [embed for one in messages for embed in one.embeds] == [one.embeds[0] for one in notices]
    assert all(sum(size(embed) for embed in one.embeds) <= 6_000 and len(one.embeds) <= 5 for one in messages)
    assert all(len({file.name for file in one.files}) == len(one.embeds) for one in messages)


def test_a_warming_series_is_marked_in_title_and_text() -> None:
    own = {"value": 151.5, "stage": "overbought", "reason": None, "age_ms": 5, "n_eff": 72}
    for warming in (True, False):
        one = heard(timeframes={"5m": {**own, "warming": warming}})
        notice = alert_notice(one, URL, simulated=False, chart=None)
        assert ("warming (72 bars)" in notice.title) is warming
        assert ("warming (72 bars)" in notice.embeds[0]["title"]) is warming


def test_a_bundle_of_a_simulation_says_so_first() -> None:
    notices = [alert_notice(heard(id=n), URL, simulated=True, chart=None) for n in range(3)]
    [message] = bundled(notices)
    assert message.title.startswith("SIMULATED · 3 alerts: ▲ BTCUSDT")
    assert message.title.count("SIMULATED") == 1


def test_markup_and_mentions_are_told_as_they_are() -> None:
    notice = alert_notice(heard(symbol="**A**_[x](y) @everyone"), URL, simulated=False, chart=None)
    assert r"\*\*A\*\*\_\[x\](y) \@everyone" in notice.embeds[0]["title"]


def test_a_long_digest_has_its_whole_list_in_a_file() -> None:
    alerts = [heard(symbol=f"A{n}USDT", id=n, candle_end_ms=BEGIN + n * M5.ms) for n in range(60)]
    notice = digest_notice("Binance", alerts, simulated=False)
    (file,) = notice.files
    assert notice.title == "60 late alerts on Binance"
    assert file.content.decode().count("· alert ") == 60
    assert "and 35 more" in notice.embeds[0]["description"]
    assert digest_notice("Binance", alerts[:2], simulated=False).files == ()
