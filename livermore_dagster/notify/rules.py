"""Whether a user is told of an alert: now, in a digest, or not and why. Pure; time is the alert's own.

Settings narrow what was computed for everyone; nothing here raises an alert. What is not told is kept with
its reason, so that 'why was I not told?' has an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from livermore_dagster.accounts.settings_document import AlertSettings, Mute, QuietHours
from livermore_dagster.stores.postgres.alerts import AlertRow
from livermore_dagster.stores.postgres.deliveries import DeliveryState, Form, HeardAlert, ToldAlert

__all__ = ["LATE_BARS", "Verdict", "is_quiet", "judge", "mute_of", "too_old", "withheld"]

LATE_BARS: Final = 2
"""An alert older than so many of its candles is told in a digest (S6)."""
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`state` is 'pending' where it shall be told, else how it ends; `reason` says why not, or why late."""

    state: DeliveryState
    form: Form = "single"
    reason: str | None = None


def judge(
    settings: AlertSettings,
    zone: ZoneInfo,
    heard: HeardAlert,
    told: Iterable[ToldAlert],
    now_ms: int,
    *,
    simulated: bool,
) -> Verdict:
    """What becomes of an alert for one user.

    `told`: what that user was told of any series. `now_ms`: the exchange's clock as far as it is known; it is
    never before the alert's own trigger.
    """
    alert = heard.alert
    now_ms = max(now_ms, alert.triggered_ms)
    if heard.withdrawn_ms is not None:
        return Verdict("withdrawn", reason="a revision of the candle took it back before it was told")
    against = withheld(settings, zone, heard, now_ms, simulated=simulated)
    if against is not None:
        return against
    reason = _told_already(settings, heard, told)
    if reason is not None:
        return Verdict("muted", reason=reason)
    if too_old(alert, now_ms):
        return Verdict("pending", "digest", f"older than {LATE_BARS} candles when it could be told")
    return Verdict("pending")


def withheld(
    settings: AlertSettings, zone: ZoneInfo, heard: HeardAlert, now_ms: int, *, simulated: bool
) -> Verdict | None:
    """What the settings have against telling it at this time, None where nothing.

    Asked when it comes and again when it is sent: settings change meanwhile, and quiet hours begin.
    """
    now_ms = max(now_ms, heard.alert.triggered_ms)
    reason = _silenced(settings, heard, now_ms, simulated=simulated) or _unwanted(settings, heard)
    if reason is not None:
        return Verdict("muted", reason=reason)
    # Neither what came in quiet hours nor what comes to be told in them.
    if any(is_quiet(settings.quiet_hours, zone, at_ms) for at_ms in (heard.alert.triggered_ms, now_ms)):
        return Verdict("quiet", reason=f"quiet hours in {zone.key}")
    return None


def _silenced(settings: AlertSettings, heard: HeardAlert, now_ms: int, *, simulated: bool) -> str | None:
    """Why nothing of this series is told at this time, None where something may be."""
    if not settings.enabled:
        return "notifications are off (alerts.enabled)"
    if simulated and not settings.simulated:
        return "notifications of a simulation are off (alerts.simulated)"
    mute = mute_of(settings.mutes, heard.exchange, heard.alert, now_ms)
    return None if mute is None else f"muted: {_named(mute)}"


def mute_of(mutes: Iterable[Mute], exchange: str, alert: AlertRow, now_ms: int) -> Mute | None:
    """The first that silences the alert."""
    about = exchange, alert.symbol, alert.timeframe
    return next((mute for mute in mutes if mute.silences(*about, now_ms)), None)


def is_quiet(spans: Iterable[QuietHours], zone: ZoneInfo, at_ms: int) -> bool:
    """Whether the zone's wall clock stands in one of the spans: in an hour that is repeated both times."""
    local = datetime.fromtimestamp(at_ms / 1000, zone)
    today = _DAYS[local.weekday()]
    yesterday = _DAYS[(local - timedelta(days=1)).weekday()]
    clock = local.time()
    for span in spans:
        if span.start < span.end:
            if span.start <= clock < span.end and today in span.days:
                return True
        elif (clock >= span.start and today in span.days) or (clock < span.end and yesterday in span.days):
            return True
    return False


def too_old(alert: AlertRow, now_ms: int) -> bool:
    """Whether it is told in a digest only: `now_ms`, by the exchange's clock, is two candles past its end."""
    return now_ms - alert.candle_end_ms >= LATE_BARS * alert.timeframe.ms


def _unwanted(settings: AlertSettings, heard: HeardAlert) -> str | None:
    alert = heard.alert
    if settings.exchanges is not None and heard.exchange not in settings.exchanges:
        return f"{heard.exchange} is not among alerts.exchanges"
    if alert.timeframe not in settings.timeframes:
        return f"{alert.timeframe.value} is not among alerts.timeframes"
    if alert.kind == "level":
        level = int(alert.label.removeprefix("level_"))
        return None if level in settings.levels else f"{level:+d} is not among alerts.levels"
    if not settings.reversals:
        return "reversals are off (alerts.reversals)"
    histogram, value = alert.histogram or 0.0, abs(alert.macdv)
    if alert.direction == "up" and histogram <= settings.oversold_buffer_pct / 100 * value:
        return f"its histogram is within {settings.oversold_buffer_pct:g} % (alerts.oversold_buffer_pct)"
    if alert.direction == "down" and -histogram <= settings.overbought_buffer_pct / 100 * value:
        return f"its histogram is within {settings.overbought_buffer_pct:g} % (alerts.overbought_buffer_pct)"
    return None


def _told_already(settings: AlertSettings, heard: HeardAlert, told: Iterable[ToldAlert]) -> str | None:
    """One level alert per candle and direction (S6b); the user's own cooldown per label."""
    alert = heard.alert
    for one in told:
        if (one.exchange_id, one.symbol, one.timeframe) != (heard.exchange_id, alert.symbol, alert.timeframe):
            continue
        if (one.label, one.open_ms) == (alert.label, alert.open_ms):
            continue  # itself, told on another channel before a revision took it back and brought it again
        same_candle = one.open_ms == alert.open_ms and one.direction == alert.direction
        if same_candle and one.kind == alert.kind == "level":
            return f"{one.label} of the same candle was told"
        apart_ms = alert.candle_end_ms - one.candle_end_ms
        if one.label == alert.label and abs(apart_ms) < settings.cooldown_s * 1000:
            return (
                f"told {abs(apart_ms) // 1000} s before or after (alerts.cooldown_s is {settings.cooldown_s})"
            )
    return None


def _named(mute: Mute) -> str:
    parts = (mute.exchange, mute.symbol, mute.timeframe and mute.timeframe.value)
    return " ".join(part for part in parts if part)
