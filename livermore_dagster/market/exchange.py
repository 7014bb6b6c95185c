"""What an exchange and its products are, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from livermore_dagster.market.timeframe import BOUNDARY_TIMEFRAMES, Timeframe

__all__ = ["ExchangeRow", "Product"]


@dataclass(frozen=True, slots=True)
class ExchangeRow:
    """A row of the `exchanges` table (X1). Adapters differ by this row and their dialect, nothing else."""

    id: int
    name: str
    display_name: str
    rest_url: str
    ws_url: str
    timeframes: tuple[Timeframe, ...]
    streamed_timeframes: tuple[Timeframe, ...]
    quote_currencies: tuple[str, ...]
    """Quotes a Tier 1 product may have, most wanted first (X3)."""
    api_limits: Mapping[str, Any]
    fee_schedule: Mapping[str, Any]
    geo_restrictions: Mapping[str, Any]
    active: bool

    @property
    def live_timeframes(self) -> tuple[Timeframe, ...]:
        """Those whose closes come by themselves, streamed or fetched at boundaries, shortest first."""
        live = {*self.streamed_timeframes, *BOUNDARY_TIMEFRAMES}
        return tuple(tf for tf in Timeframe if tf in live and tf in self.timeframes)


@dataclass(frozen=True, slots=True)
class Product:
    """One tradable market. `symbol` is the exchange's own id; base and quote are from its list (X3b)."""

    symbol: str
    base: str
    quote: str
    trading: bool
    alias_of: str | None = None
    """Canonical id of the same book (Coinbase BTC-USDC is BTC-USD), None for a canonical product."""
    quote_volume_24h: str | None = None
    """In quote currency, canonical decimal text; None where the list does not carry it."""
    trades_24h: int | None = None
    listed_ms: int | None = None
    price: str | None = None
    """Last price in quote currency, canonical decimal text; None where the list does not carry it."""
    change_24h_pct: str | None = None
    """Percent, canonical decimal text; None where the list does not carry it."""
    spread_bps: float | None = None
    """Best ask less best bid in hundredths of a percent of their middle; None where the list has no book."""
    depth: float | None = None
    """At the best bid and ask together, in quote currency."""
    product_type: str = "SPOT"
    """The exchange's word; what is not SPOT (a future, say) is no market of ours."""
