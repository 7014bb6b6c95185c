"""Epoch milliseconds as people read them. UTC, always."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["clock_text", "short_text", "utc_text"]


def utc_text(at_ms: int | None) -> str:
    """'2026-01-05 23:30', with seconds only where there are some; 'never' for None."""
    if at_ms is None:
        return "never"
    at = _at(at_ms)
    return at.strftime("%Y-%m-%d %H:%M:%S" if at.second else "%Y-%m-%d %H:%M")


def clock_text(at_ms: int) -> str:
    """'2026-01-05 23:30:00 UTC': of what ticks, and must keep its width."""
    return _at(at_ms).strftime("%Y-%m-%d %H:%M:%S UTC")


def short_text(at_ms: int) -> str:
    """'01-05 23:30:00': of what is recent, in a column of its own."""
    return _at(at_ms).strftime("%m-%d %H:%M:%S")


def _at(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
