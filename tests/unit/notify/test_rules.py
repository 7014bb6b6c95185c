"""Who is told of an alert, in event time, and why not."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from livermore_dagster.accounts.settings_document import AlertSettings
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.notify import rules
from livermore_dagster.notify.rules import Verdict
from livermore_dagster.stores.postgres.deliveries import HeardAlert, ToldAlert
from tests.unit.notify.alerts import BEGIN, M5, heard

WEEKEND = '{"start": "00:00:00", "end": "00:00:00", "days": ["sat", "sun"]}'
UTC_ZONE, BERLIN, NEW_YORK = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")


def settings(json: str = "{}") -> AlertSettings:
    return AlertSettings.model_validate_json(json)


def told(one: HeardAlert) -> ToldAlert:
    alert = one.alert
    return ToldAlert(
        1, one.exchange_id, alert.symbol, alert.timeframe, alert.label, alert.kind, alert.direction,
        alert.open_ms, alert.candle_end_ms,
    )  # fmt: skip


def judge(
    one: HeardAlert, json: str = "{}", *before: HeardAlert, now_ms: int = 0, simulated: bool = False
) -> Verdict:
    return rules.judge(
        settings(json), UTC_ZONE, one, [told(other) for other in before], now_ms, simulated=simulated
    )


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_it_is_told_where_nothing_speaks_against_it() -> None:
    assert judge(heard()) == Verdict("pending")


@pytest.mark.parametrize(
    ("json", "said"),
    [
        ('{"enabled": false}', "alerts.enabled"),
        ('{"exchanges": ["coinbase"]}', "binance is not among"),
        ('{"timeframes": ["1h"]}', "5m is not among"),
        ('{"levels": [-150, 200]}', "+150 is not among"),
        ('{"mutes": [{"exchange": "binance"}]}', "muted: binance"),
        ('{"mutes": [{"symbol": "BTCUSDT", "timeframe": "5m"}]}', "muted: BTCUSDT 5m"),
    ],
)
def test_what_a_user_does_not_want_is_muted_with_its_reason(json: str, said: str) -> None:
    verdict = judge(heard(), json)
    assert verdict.state == "muted"
    assert said in (verdict.reason or "")


@pytest.mark.parametrize(
    "json",
    [
        '{"mutes": [{"exchange": "coinbase", "symbol": "BTCUSDT"}]}',
        '{"mutes": [{"symbol": "BTCUSDT", "timeframe": "1h"}]}',
        f'{{"mutes": [{{"exchange": "binance", "until_ms": {BEGIN + M5.ms + 1_500}}}]}}',
        '{"exchanges": ["binance"], "timeframes": ["5m"], "levels": [150], "reversals": false}',
    ],
)
def test_what_is_meant_for_others_or_is_over_mutes_nothing(json: str) -> None:
    assert judge(heard(), json).state == "pending"


def test_reversals_are_told_beyond_the_users_buffer_only() -> None:
    up = heard(kind="reversal", label="reversal_oversold", macdv=-200.0, histogram=16.0)
    down = heard(kind="reversal", label="reversal_overbought", direction="down", macdv=200.0, histogram=-9.0)
    assert judge(up).state == judge(down).state == "pending"
    assert judge(up, '{"oversold_buffer_pct": 8.0}').state == "muted"
    assert judge(down, '{"overbought_buffer_pct": 4.5}').state == "muted"
    assert judge(up, '{"reversals": false}').state == "muted"


def test_a_simulation_keeps_still_unless_asked_for() -> None:
    assert judge(heard(), simulated=True).state == "muted"
    assert judge(heard(), '{"simulated": true}', simulated=True).state == "pending"


def test_one_level_of_a_candle_and_direction_is_told() -> None:
    revised = heard(label="level_200", revised=True)
    assert judge(revised, "{}", heard()).state == "muted"
    assert judge(heard(label="level_-150", direction="down"), "{}", heard()).state == "pending"
    reversal = heard(label="reversal_oversold", kind="reversal", macdv=-200.0, histogram=20.0)
    assert judge(reversal, "{}", heard()).state == "pending"
    assert judge(heard("coinbase", label="level_200"), "{}", heard()).state == "pending"


@given(st.integers(300, 86_400), st.integers(1, 400), st.booleans())
def test_cooldown_is_the_users_in_event_time_either_way(cooldown_s: int, bars: int, earlier: bool) -> None:
    """Late alerts come out of order: those before what was told count as well."""
    apart_ms = (-bars if earlier else bars) * M5.ms
    moved = {"open_ms": BEGIN + apart_ms, "candle_end_ms": BEGIN + M5.ms + apart_ms}
    verdict = judge(heard(**moved), f'{{"cooldown_s": {cooldown_s}}}', heard())
    assert (verdict.state == "muted") == (bars * M5.ms < cooldown_s * 1_000)


def test_what_was_withdrawn_before_it_was_told_is_not_told() -> None:
    assert judge(heard(withdrawn_ms=BEGIN)).state == "withdrawn"


@given(st.sampled_from(list(Timeframe)), st.integers(0, 5_000), st.booleans())
def test_older_than_two_of_its_candles_it_goes_into_the_digest(
    tf: Timeframe, percent: int, by_clock: bool
) -> None:
    end_ms = BEGIN + tf.ms
    age_ms = tf.ms * percent // 1_000
    triggered = end_ms if by_clock else end_ms + age_ms
    one = heard(timeframe=tf, candle_end_ms=end_ms, triggered_ms=triggered, late=True)
    verdict = judge(one, now_ms=end_ms + age_ms if by_clock else 0)
    assert verdict.state == "pending"
    assert (verdict.form == "digest") == (age_ms >= 2 * tf.ms)


@pytest.mark.parametrize(
    ("zone", "span", "moment", "quiet"),
    [
        (UTC_ZONE, '{"start": "22:00:00", "end": "06:00:00"}', "2026-01-01T23:00", True),
        (UTC_ZONE, '{"start": "22:00:00", "end": "06:00:00"}', "2026-01-01T06:00", False),
        (UTC_ZONE, '{"start": "22:00:00", "end": "06:00:00", "days": ["thu"]}', "2026-01-02T05:59", True),
        (UTC_ZONE, '{"start": "22:00:00", "end": "06:00:00", "days": ["thu"]}', "2026-01-01T05:59", False),
        (UTC_ZONE, WEEKEND, "2026-01-03T12:00", True),
        (UTC_ZONE, WEEKEND, "2026-01-05T00:00", False),
        # 29 March 2026: Berlin's clocks go from 02:00 to 03:00; 22:00 to 06:00 is an hour shorter.
        (BERLIN, '{"start": "22:00:00", "end": "06:00:00"}', "2026-03-29T03:59", True),
        (BERLIN, '{"start": "22:00:00", "end": "06:00:00"}', "2026-03-29T04:00", False),
        (BERLIN, '{"start": "22:00:00", "end": "06:00:00"}', "2026-03-28T21:00", True),
        # 25 October 2026: 02:30 comes twice there, and is quiet both times.
        (BERLIN, '{"start": "02:00:00", "end": "03:00:00"}', "2026-10-25T00:30", True),
        (BERLIN, '{"start": "02:00:00", "end": "03:00:00"}', "2026-10-25T01:30", True),
        (BERLIN, '{"start": "02:00:00", "end": "03:00:00"}', "2026-10-25T02:00", False),
        (NEW_YORK, '{"start": "20:00:00", "end": "23:00:00", "days": ["wed"]}', "2026-01-01T02:00", True),
    ],
)  # fmt: skip
def test_quiet_hours_are_the_zones_own(zone: ZoneInfo, span: str, moment: str, quiet: bool) -> None:
    spans = settings(f'{{"quiet_hours": [{span}]}}').quiet_hours
    assert rules.is_quiet(spans, zone, at(moment)) is quiet


def test_quiet_hours_take_no_offset() -> None:
    with pytest.raises(ValidationError, match="local to profile"):
        settings('{"quiet_hours": [{"start": "22:00:00Z", "end": "06:00:00"}]}')


def test_what_came_in_quiet_hours_and_what_would_be_told_in_them_keeps_still() -> None:
    early = '{"quiet_hours": [{"start": "00:00:00", "end": "01:00:00"}]}'
    later = '{"quiet_hours": [{"start": "02:00:00", "end": "03:00:00"}]}'
    assert judge(heard(), early, now_ms=at("2026-01-01T08:00")).state == "quiet"
    assert judge(heard(), later, now_ms=at("2026-01-01T02:30")).state == "quiet"
    assert judge(heard(), later, now_ms=at("2026-01-01T03:30")).form == "digest"
