"""All that reading one exchange takes, opened together: its row, REST client, candle cache, tables and time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from psycopg_pool import AsyncConnectionPool
from redis.asyncio import Redis

from livermore_dagster.clock import Clock, SystemClock
from livermore_dagster.exchanges.contract import Priority, Quirks
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import Timeframe

if TYPE_CHECKING:
    from livermore_dagster.exchanges.client import ExchangeClient
    from livermore_dagster.stores.postgres.candles import CandleTable
    from livermore_dagster.stores.redis.candle_cache import CandleCache

__all__ = ["ExchangeContext", "Servers", "Stopwatch", "open_context"]


class Servers(Protocol):
    """Where Redis and PostgreSQL are (platform.config.Settings is one)."""

    @property
    def redis_url(self) -> str: ...
    @property
    def database_url(self) -> str: ...
    @property
    def database_ca(self) -> Path | None: ...


class Stopwatch:
    """A lower bound of the exchange's clock from one reading of it and the real time since.

    A market never runs slower than real time, so a reading plus the elapsed milliseconds is never ahead.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._anchor: tuple[int, float] | None = None

    def anchor(self, exchange_ms: int) -> None:
        """The exchange clock reads `exchange_ms` (or later) now. An older reading changes nothing."""
        known = self.now()
        if known is None or exchange_ms > known:
            self._anchor = (exchange_ms, self._clock.monotonic())

    def now(self) -> int | None:
        if self._anchor is None:
            return None
        exchange_ms, at = self._anchor
        return exchange_ms + int((self._clock.monotonic() - at) * 1000)


@dataclass(slots=True)
class ExchangeContext:
    """One exchange as the REST flows see it. `live_clock` is the streaming service's exchange clock, if any."""

    row: ExchangeRow
    quirks: Quirks
    client: ExchangeClient
    cache: CandleCache
    table: CandleTable
    pool: AsyncConnectionPool
    redis: Redis
    clock: Clock = field(default_factory=SystemClock)
    live_clock: Callable[[], int | None] | None = None
    stopwatch: Stopwatch = field(init=False)

    def __post_init__(self) -> None:
        self.stopwatch = Stopwatch(self.clock)

    def timeframes(self) -> tuple[Timeframe, ...]:
        """Those the exchange has, shortest first."""
        return tuple(tf for tf in Timeframe if tf in self.row.timeframes)

    def known_now(self) -> int | None:
        """A lower bound of the exchange's clock without asking it, None when nothing is known yet."""
        live = self.live_clock() if self.live_clock is not None else None
        if live is not None:
            self.stopwatch.anchor(live)
        return self.stopwatch.now()

    async def exchange_now(self, priority: Priority = Priority.WARMUP) -> int:
        """A lower bound of the exchange's clock; asks the exchange for its time when nothing is known."""
        known = self.known_now()
        if known is None:
            known = await self.client.server_time(priority)
            self.stopwatch.anchor(known)
        return known


@asynccontextmanager
async def open_context(
    exchange: str,
    servers: Servers,
    *,
    clock: Clock | None = None,
    live_clock: Callable[[], int | None] | None = None,
) -> AsyncIterator[ExchangeContext]:
    """The context of the exchange named `exchange`, closed at exit.

    Raises UnknownExchange or InactiveExchange (R6) before anything is asked of it. A persisted refusal of a
    timeframe (Coinbase 4h) has taken that timeframe out of `row.timeframes`.
    """
    raise AssertionError  # filled in below
    yield
