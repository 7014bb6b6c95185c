"""Plain sentences from a series' facts: what is wrong is said, with figures, and what is not is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from livermore_dagster.market.explanation import Sentence, explain, span_text
from livermore_dagster.market.known_series import AlertFacts, KnownSeries
from livermore_dagster.market.macdv import LOW_ACTIVITY, NO_MOVEMENT
from livermore_dagster.market.timeframe import Timeframe

H1 = Timeframe.H1
NOON = 1_767_614_400_000  # 2026-01-05T12:00:00Z
GOOD = KnownSeries(
    exchange="binance", symbol="BTCUSDT", timeframe=H1, now_ms=NOON + 60_000, live=True, streamed=True,
    instance_state="active", monitored=True, cached=300, stored=300, stored_from_ms=NOON - 300 * H1.ms,
    stored_to_ms=NOON - H1.ms, value=140.0, signal=120.0, histogram=20.0, stage="rallying", n_eff=300,
    span_bars=300, value_open_ms=NOON - H1.ms, judged=True, watermark_ms=NOON - H1.ms,
    previous=(130.0, 1),
)  # fmt: skip
ALERT = AlertFacts("level_150", NOON, 152.0, late=False, revised=False, withdrawn=False, published=True)


def said(facts: KnownSeries, title: str) -> list[Sentence]:
    (section,) = [one for one in explain(facts) if one.title == title]
    return list(section.sentences)


def words(facts: KnownSeries, title: str) -> str:
    return " ".join(one.text for one in said(facts, title))


def test_a_sound_series_has_nothing_bad() -> None:
    sections = explain(GOOD)
    assert [one.title for one in sections] == ["source", "candles", "value", "alerts", "next"]
    assert not [one for section in sections for one in section.sentences if one.tone in ("bad", "wait")]
    assert "above +150 (10.0 points away), or below -150 (290.0 points away)" in words(GOOD, "alerts")
    assert "+10.0 points a candle towards +150: 1 candle at" in words(GOOD, "alerts")
    assert "expected at 2026-01-05 13:00 UTC, in 59 min" in words(GOOD, "next")


@pytest.mark.parametrize(
    ("change", "title", "told", "tone"),
    [
        ({"instance_state": "offline", "instance_error": "no net"}, "source", "last error: no net", "bad"),
        ({"monitored": False}, "source", "not among the symbols binance monitors", "bad"),
        ({"live": False, "streamed": False}, "next", "livermore backfill binance --timeframes 1h", "bad"),
        ({"monitored": False}, "next", "Add it: livermore symbols add binance BTCUSDT", "bad"),
        (
            {"monitored": False, "mode": "position-monitor"},
            "next", "(and switch binance from position-monitor", "bad",
        ),
        (
            {"instance_state": "idle", "wanted": False, "monitored": False},
            "next", "Start it: livermore start binance", "bad",
        ),
        (
            {"instance_state": "offline", "monitored": False},
            "next", "binance is started again by itself while its platform runs", "wait",
        ),
        ({"paused": True}, "source", "binance is paused", "bad"),
        ({"paused": True}, "next", "livermore command resume -e binance", "bad"),
        ({"computed": False}, "source", "of 1h are not computed: no active user wants them", "bad"),
        ({"computed": False}, "next", "add 1h to runtime.timeframes", "bad"),
        ({"live": False, "value_open_ms": None, "value": None}, "value", "of it is computed", "plain"),
        ({"watermark_ms": NOON - 1}, "alerts", "from the one opening 2026-01-05 12:00 UTC on", "good"),
        ({"previous": (140.0, 1)}, "alerts", "less than 0.1 points", "plain"),
        ({"cached": 0, "stored": 0}, "candles", "No candle of it is here", "bad"),
        ({"gaps": [(NOON - 9 * H1.ms, NOON - 7 * H1.ms)]}, "candles", "2 bars are missing in 1 gap", "wait"),
        ({"absent": [(NOON - 9 * H1.ms, NOON - 8 * H1.ms)]}, "candles", "1 bar had no trades", "plain"),
        ({"value": None, "reason": LOW_ACTIVITY, "n_eff": 9}, "value", "26 bars with trades, 9", "wait"),
        ({"value": None, "reason": NO_MOVEMENT}, "value", "no range to measure with", "wait"),
        ({"value": None, "reason": "Warming", "n_eff": 59}, "value", "60 bars with trades are", "wait"),
        ({"n_eff": 199}, "value", "1 more bar until it is settled; no alert is raised until then", "wait"),
        ({"n_eff": 199, "whole_history": True}, "value", "it alerts all the same", "wait"),
        ({"value_open_ms": NOON - 5 * H1.ms}, "value", "4 h 1 min old: stale", "bad"),
        ({"value_open_ms": None}, "value", "No MACD-V has been computed yet", "wait"),
        ({"unknown_bars": 2}, "value", "2 bars stayed unknown", "bad"),
        ({"judged": False}, "alerts", "only history has come", "wait"),
        ({"value": -180.0, "armed": False}, "alerts", "reversal_oversold has fired in this move", "wait"),
        ({"value": -180.0, "histogram": 1.0}, "alerts", "histogram above +9.00 (now +1.00)", "plain"),
        ({"value": 200.0, "histogram": 1.0}, "alerts", "histogram below -6.00 (now +1.00)", "plain"),
        ({"cooldowns": [("level_150", NOON - 120_000)]}, "alerts", "cooling down for another 2 min", "wait"),
        ({"mutes": ["Ann has muted BTCUSDT"]}, "alerts", "silenced: Ann has muted BTCUSDT", "bad"),
        ({"alerts": [ALERT]}, "alerts", "MACD-V +152.00: published; nobody is notified", "plain"),
        ({"alerts": [replace(ALERT, published=False, late=True)]}, "alerts", "(late): stored, not", "wait"),
        (
            {"alerts": [replace(ALERT, deliveries=(("desk", "failed", "404"),))]},
            "alerts", "desk failed (404)", "bad",
        ),
    ],
)  # fmt: skip
def test_each_finding_is_said_in_its_tone(
    change: dict[str, object], title: str, told: str, tone: str
) -> None:
    found = [one for one in said(replace(GOOD, **change), title) if told in one.text]  # type: ignore[arg-type]
    assert [one.tone for one in found] == [tone]
    assert told not in words(GOOD, title)


def test_nobody_is_told_to_start_what_runs() -> None:
    """A start with --symbols names what is monitored from then on: nothing but this."""
    assert "livermore start" not in words(replace(GOOD, monitored=False), "next")
    idle = words(replace(GOOD, instance_state="idle", wanted=False, monitored=False), "next")
    assert "--symbols" not in idle


@pytest.mark.parametrize("change", [{"computed": False}, {"live": False, "streamed": False}])
def test_what_is_not_computed_is_neither_late_nor_about_to_alert(change: dict[str, bool]) -> None:
    facts = replace(GOOD, value_open_ms=NOON - 9 * H1.ms, **change)  # type: ignore[arg-type]
    told = " ".join(words(facts, title) for title in ("value", "alerts", "next"))
    for wrong in ("should have come", "is not folded", "A level alert comes", "are judged for alerts"):
        assert wrong not in told
    assert "should have come" in words(replace(GOOD, value_open_ms=NOON - 9 * H1.ms), "value")


def test_a_cooldown_that_is_over_is_not_told() -> None:
    assert "cooling" not in words(replace(GOOD, cooldowns=[("level_150", NOON - 300_000)]), "alerts")


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0 s"), (119_000, "119 s"), (120_000, "2 min"), (7_200_000, "2 h"), (12_000_000, "3 h 20 min"),
     (172_800_000, "2 days")],
)  # fmt: skip
def test_spans_are_told_in_their_unit(ms: int, text: str) -> None:
    assert span_text(ms) == text
