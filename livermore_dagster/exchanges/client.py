"""One exchange's REST, spoken by its dialect, under its rate budget.

Every call takes from the budget before it leaves and gives the reply's headers back to it. Network errors,
5xx and bodies that are not the protocol's are tried again, bounded and jittered; 429 and 418 never are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import redis.asyncio
import stamina

from livermore_dagster.clock import Clock
from livermore_dagster.errors import (
    ExchangeUnavailable,
    RateLimited,
    RequestRefused,
    UnsupportedTimeframe,
)
from livermore_dagster.exchanges.budget import Budget
from livermore_dagster.exchanges.contract import (
    BudgetFeedback,
    BudgetRule,
    Dialect,
    Priority,
    Request,
    RestCandle,
)
from livermore_dagster.exchanges.http import HttpPort, HttpReply, NoReply
from livermore_dagster.market.exchange import ExchangeRow, Product
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import metrics

__all__ = ["ExchangeClient"]

ATTEMPTS = 4
RETRY_FOR_S = 45.0
# A cancelled request has left already, or never will.
CANCELLED_MS = 1_000

T = TypeVar("T")


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
        self.budget = budget
        self._http = http
        self._redis = redis
        self._clock = clock

    async def server_time(self, priority: Priority = Priority.BOUNDARY) -> int:
        """The exchange's clock as its REST API says it."""
        return await self._ask(self.dialect.time_request(), priority, self.dialect.parse_time)

    async def products(self, priority: Priority = Priority.BROWSE) -> list[Product]:
        """Every product, trading or not; also sets the budget from the limits the exchange states."""
        bodies = [
            await self._ask(request, priority, lambda body: body)
            for request in self.dialect.products_requests()
        ]
        products = self.dialect.parse_products(bodies)
        stated = self.dialect.budget_rule(bodies)
        if stated is not None:
            share = float(self.row.api_limits["use"])
            await self.budget.set_rule(BudgetRule(int(stated.capacity * share), stated.window_ms))
        return products

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
        rows = await self._ask(request, priority, lambda body: self.dialect.parse_candles(body, timeframe))
        # Exchanges count their edges differently; ours is half open.
        return [row for row in rows if start_ms <= row.candle.open_ms < end_ms]

    async def candle_pages(
        self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int, priority: Priority
    ) -> AsyncIterator[list[RestCandle]]:
        """Pages of [start_ms, end_ms), oldest first, one request each; a page may be empty."""
        rows_a_page = self.dialect.quirks.rest_rows
        start = start_ms
        while start < end_ms:
            end = min(end_ms, start + rows_a_page * timeframe.ms)
            page = await self.candles(symbol, timeframe, start, end, priority)
            yield page
            # Off the grid after an outage a span can hold more rows than a page does.
            full = len(page) >= rows_a_page
            last = page[-1].candle.open_ms if page else 0
            start = last + 1 if full and last + timeframe.ms < end else end

    async def close(self) -> None:
        """Close the connections; the budget stays, it is everyone's."""
        await self._http.close()

    async def _ask(self, request: Request, priority: Priority, parse: Callable[[bytes], T]) -> T:
        """One call with its retries; every attempt takes from the budget anew."""
        async for attempt in stamina.retry_context(
            on=ExchangeUnavailable,
            attempts=ATTEMPTS,
            timeout=RETRY_FOR_S,
            wait_initial=0.25,
            wait_max=4.0,
            wait_jitter=0.5,
        ):
            with attempt:
                reply = await self._send(request, priority)
                return parse(reply.body)
        raise AssertionError("the retry loop either returns or raises")

    async def _send(self, request: Request, priority: Priority) -> HttpReply:
        permit = await self.budget.take(request.weight, priority)
        feedback = BudgetFeedback()
        on_its_way_ms = CANCELLED_MS
        try:
            await metrics.count(self._redis, self.row.id, f"rest_requests:{request.endpoint}")
            reply = await self._http.get(request.path, request.params)
            on_its_way_ms = 0
            feedback = self.dialect.feedback(reply.status, reply.headers, reply.body)
        except NoReply as error:
            on_its_way_ms = error.on_its_way_ms
            raise
        finally:
            # Shielded: a cancelled caller must not leave its request uncounted.
            await asyncio.shield(self.budget.feedback(feedback, permit, on_its_way_ms=on_its_way_ms))
        if reply.status in (418, 429):
            await self._refused_for_rate(request, reply, feedback)
        if reply.status >= 500 or (reply.status >= 300 and _is_html(reply)):
            raise ExchangeUnavailable(f"{self.row.name} answered {reply.status} to {request.path}.")
        if reply.status >= 300:
            code = self.dialect.error_code(reply.status, reply.body)
            raise RequestRefused(
                f"{self.row.name} refused {request.path} with {reply.status}: {code or 'no reason given'}.",
                reply.status,
                code,
            )
        return reply

    async def _refused_for_rate(self, request: Request, reply: HttpReply, feedback: BudgetFeedback) -> None:
        """Counted, written down, raised: the budget is closed for all processes by now."""
        wait_ms = feedback.retry_after_ms or 0
        text = f"{self.row.name} answered {reply.status} to {request.path}: budget closed for {wait_ms} ms."
        await metrics.count(self._redis, self.row.id, f"http_{reply.status}")
        await metrics.incident(
            self._redis, f"http_{reply.status}", self.row.id, text, "error",
            endpoint=request.endpoint, retry_after_ms=wait_ms,
        )  # fmt: skip
        raise RateLimited(text, self._clock.now_ms() + wait_ms, reply.status)


def _is_html(reply: HttpReply) -> bool:
    return "html" in reply.headers.get("content-type", "") or reply.body.lstrip()[:1] == b"<"
