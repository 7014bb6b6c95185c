"""Epoch milliseconds as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["utc_text"]


def utc_text(at_ms: int | None) -> str:
    """'2026-01-05 23:30', with seconds only where there are some; 'never' for None. UTC."""
    if at_ms is None:
        return "never"
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S" if at.second else "%Y-%m-%d %H:%M")
