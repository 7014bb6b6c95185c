"""Moments as people read them: UTC, whatever the machine's zone."""

from __future__ import annotations

from livermore_dagster.market.moments import clock_text, short_text, utc_text

NEW_YEAR_MS = 1_767_225_600_000


def test_a_moment_has_seconds_where_there_are_some() -> None:
    assert utc_text(NEW_YEAR_MS) == "2026-01-01 00:00"
    assert utc_text(NEW_YEAR_MS + 61_999) == "2026-01-01 00:01:01"
    assert utc_text(None) == "never"


def test_a_clock_keeps_its_width() -> None:
    assert clock_text(NEW_YEAR_MS) == "2026-01-01 00:00:00 UTC"
    assert short_text(NEW_YEAR_MS - 1_000) == "12-31 23:59:59"
