"""Market time as this machine knows it, for audits that must not need the exchange for it."""

from __future__ import annotations

from livermore_dagster.audit.cell import MarketNow
from livermore_dagster.platform.config import Settings, market_speed
from livermore_dagster.platform.watch import MarketTime

__all__ = ["market_now"]


def market_now(settings: Settings) -> MarketNow | None:
    """None where a simulated market is played from another home: its time is not known here."""
    try:
        now_ms = MarketTime.of(settings).now_ms()
    except FileNotFoundError:
        return None
    return MarketNow(now_ms, market_speed(settings.home))
