"""One exchange's public REST, spoken by its dialect, under its rate budget."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

import redis.asyncio

from livermore_dagster.clock import Clock
from livermore_dagster.errors import UnsupportedTimeframe
from livermore_dagster.exchanges.budget import Budget
from livermore_dagster.exchanges.caller import RestCaller
from livermore_dagster.exchanges.contract import BudgetRule, Dialect, Priority, RestCandle
from livermore_dagster.exchanges.http import HttpPort
from livermore_dagster.market.exchange import ExchangeRow, Product
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["CandlePage", "ExchangeClient"]


class CandlePage(NamedTuple):
    """All the exchange has of [start_ms, end_ms), oldest first."""

    start_ms: int
    end_ms: int
    rows: list[RestCandle]


class ExchangeClient:
    """Times are epoch ms. Open rows are in the replies: callers judge them by the exchange's clock.

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
        self._caller = RestCaller(row, dialect, http, budget, redis, clock)

    @property
    def budget(self) -> Budget:
        return self._caller.budget

    async def server_time(self, priority: Priority = Priority.BOUNDARY) -> int:
        """The exchange's clock as its REST API says it."""
        return await self._caller.ask(self.dialect.time_request(), priority, self.dialect.parse_time)

    async def products(self, priority: Priority = Priority.BROWSE) -> list[Product]:
        """Every product, trading or not; also sets the budget from the limits the exchange states."""
        bodies = [
            await self._caller.ask(request, priority, lambda body: body)
            for request in self.dialect.products_requests()
        ]
        products = self.dialect.parse_products(bodies)
        stated = self.dialect.budget_rule(bodies)
        if stated is not None:
            share = float(self.row.api_limits["use"])
            await self.budget.set_rule(BudgetRule(int(stated.capacity * share), stated.window_ms))
        return products

    async def product(self, symbol: str, priority: Priority = Priority.BROWSE) -> Product:
        """One product, also one that is traded no more where the exchange still knows it."""
        return await self._caller.ask(
            self.dialect.product_request(symbol), priority, self.dialect.parse_product
        )

    async def candles(
        self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int, priority: Priority
    ) -> list[RestCandle]:
        """One request: rows whose open lies in [start_ms, end_ms), oldest first.

        Raises ValueError when the span is more than `quirks.rest_rows` bars, UnsupportedTimeframe for a
        timeframe the exchange's row does not have.
        """
        if timeframe not in self.row.timeframes:
            raise UnsupportedTimeframe(timeframe.value, self.row.name, [t.value for t in self.row.timeframes])
        if not 0 < end_ms - start_ms <= self.dialect.quirks.rest_rows * timeframe.ms:
            raise ValueError(
                f"a span of {end_ms - start_ms} ms is not 1 to {self.dialect.quirks.rest_rows} bars of "
                f"{timeframe.value}"
            )
        request = self.dialect.candles_request(symbol, timeframe, start_ms, end_ms)
        rows = await self._caller.ask(
            request, priority, lambda body: self.dialect.parse_candles(body, timeframe)
        )
        # Exchanges count their edges differently; ours is half open.
        return [row for row in rows if start_ms <= row.candle.open_ms < end_ms]

    async def candle_pages(
        self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int, priority: Priority
    ) -> AsyncIterator[CandlePage]:
        """[start_ms, end_ms) page by page, oldest first, one request each; a page may be empty."""
        rows_a_page = self.dialect.quirks.rest_rows
        start = start_ms
        while start < end_ms:
            end = min(end_ms, start + rows_a_page * timeframe.ms)
            rows = await self.candles(symbol, timeframe, start, end, priority)
            # Off the grid after an outage a span can hold more rows than a page does.
            full = len(rows) >= rows_a_page
            last = rows[-1].candle.open_ms if rows else 0
            told = last + 1 if full and last + timeframe.ms < end else end
            yield CandlePage(start, told, rows)
            start = told

    async def close(self) -> None:
        """Close the connections; the budget stays, it is everyone's."""
        await self._caller.close()
