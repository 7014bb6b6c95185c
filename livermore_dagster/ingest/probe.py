"""One-time questions to an exchange about itself: does Coinbase serve 4h candles?"""

from __future__ import annotations

from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["probe_timeframes"]


async def probe_timeframes(ctx: ExchangeContext, liquid_symbol: str) -> tuple[Timeframe, ...]:
    """Ask once per process for every timeframe the row declares in doubt (api_limits 'probe_timeframes').

    Only the exchange's own refusal of the granularity (400) counts as 'unsupported'; anything else leaves the
    question open. Result and date are kept in exchange_probes; a refused timeframe leaves `ctx.row` and is
    returned. Never asked of an exchange without doubtful timeframes.
    """
    raise AssertionError
