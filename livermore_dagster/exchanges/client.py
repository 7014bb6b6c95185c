"""One exchange's REST, spoken by its dialect, under its rate budget.

Every call takes from the budget before it leaves and gives the reply's headers back to it. Network errors,
5xx and bodies that are not the protocol's are tried again, bounded and jittered; 429 and 418 never are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

import redis.asyncio
import stamina

from livermore_dagster.clock import Clock
from livermore_dagster.errors import (
    ExchangeUnavailable,
    RateLimited,
    RequestRefused,
    UnsupportedTimeframe,
)
from livermore_dagster.exchanges.budget import Budget, Permit
from livermore_dagster.exchanges.contract import BudgetFeedback, BudgetRule, Dialect, Priority, Request, RestCandle
from livermore_dagster.exchanges.http import HttpPort, HttpReply
from livermore_dagster.market.exchange import ExchangeRow, Product
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import metrics

__all__ = ["ExchangeClient"]

ATTEMPTS = 4
RETRY_FOR_S = 45.0


class ExchangeClient:
    """Times are epoch ms. Rows that are still open are in the replies: callers judge them by the exchange's clock.

    Every method raises RateLimited (429, 418, or a budget closed for long), RequestRefused (another 4xx) or
    ExchangeUnavailable (after the retries).
    """

    def __init__(
        self,
        row: ExchangeRow,
        dialect: Dialect,
        http: HttpPort,
        budget: Budget,
        redis: redis.asyncio.Redis,
        clock: Clock,
    ) -> None:
        self.row = row
        self.dialect = dialect
        self.budget = budget
        self._http = http
        self._redis = redis
        self._clock = clock

    async def server_time(self, priority: Priority = Priority.BOUNDARY) -> int:
        """The exchange's clock as its REST API says it."""

    async def products(self, priority: Priority = Priority.BROWSE) -> list[Product]:
        """Every product, trading or not; also sets the budget from the limits the exchange states."""

    async def candles(
        self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int, priority: Priority
    ) -> list[RestCandle]:
        """One request: rows whose open lies in [start_ms, end_ms), oldest first.

        Raises ValueError when the span is more than `quirks.rest_rows` bars.
        """

    def candle_pages(
        self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int, priority: Priority
    ) -> AsyncIterator[list[RestCandle]]:
        """Pages of [start_ms, end_ms), oldest first, one request each; a page may be empty."""

    async def close(self) -> None:
        await self._http.close()
