"""What several commands' arguments mean: lists of timeframes, moments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from livermore_dagster.errors import BadSetting, UnsupportedTimeframe
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["epoch_ms", "moment", "some_timeframes", "timeframes_of"]

SPANS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


def timeframes_of(text: str | None, exchange: str, had: Sequence[Timeframe]) -> list[Timeframe]:
    """'1h,4h' as timeframes, once each; all of `had` for None.

    Raises UnknownTimeframe, and UnsupportedTimeframe for one that `exchange` does not have.
    """
    if text is None:
        return list(had)
    chosen = [Timeframe.parse(word.strip()) for word in text.split(",") if word.strip()]
    if not chosen:
        raise BadSetting(f"--timeframes {text!r} names none.", "Write them like 1h,4h.")
    for timeframe in chosen:
        if timeframe not in had:
            raise UnsupportedTimeframe(timeframe.value, exchange, [tf.value for tf in had])
    return list(dict.fromkeys(chosen))


def some_timeframes(text: str | None, option: str) -> tuple[Timeframe, ...] | None:
    """The same where no exchange is meant, in the order of their length; None for None."""
    if text is None:
        return None
    chosen = {Timeframe.parse(word.strip()) for word in text.split(",") if word.strip()}
    if not chosen:
        raise BadSetting(f"{option} {text!r} names none.", "Write them like 15m,1h,4h.")
    return tuple(timeframe for timeframe in Timeframe if timeframe in chosen)


def epoch_ms(text: str, option: str, advice: str) -> int:
    """A date or time (ISO 8601); without an offset it is UTC, as everywhere. Raises BadSetting."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadSetting(f"{option} {text!r} is not a time.", advice) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def moment(text: str | None, option: str, now_ms: int) -> int | None:
    """A date or time (ISO 8601), or a span back from now such as 90m, 6h, 2d, as epoch ms; None for None.

    `now_ms`: market time. Raises BadSetting for what is neither, and for a time that is still to come.
    """
    if text is None:
        return None
    unit_ms = SPANS_MS.get(text[-1:])
    if unit_ms is not None and text[:-1].isdecimal():
        return max(0, now_ms - int(text[:-1]) * unit_ms)
    at_ms = epoch_ms(text, option, "Write it like 2026-01-05T00:00:00Z, or a span like 6h or 2d.")
    if at_ms > now_ms:
        raise BadSetting(
            f"{option} {text!r} lies in the future: there it is {utc_text(now_ms)} UTC.",
            "Give a time that has passed.",
        )
    return at_ms
