"""All that reading one exchange takes: its row, REST client, candle cache, tables and time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from psycopg import AsyncConnection
from redis.asyncio import Redis

from livermore_dagster.clock import Clock, SystemClock
from livermore_dagster.exchanges.client import ExchangeClient
from livermore_dagster.exchanges.closure import SharedClosure
from livermore_dagster.exchanges.contract import Priority, Quirks
from livermore_dagster.exchanges.factory import client_for, require_active, row_named
from livermore_dagster.exchanges.gate import Gate
from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.candles import CandleTable
from livermore_dagster.stores.postgres.connect import Pool, open_pool
from livermore_dagster.stores.postgres.exchanges import load_exchanges
from livermore_dagster.stores.postgres.probes import read_probe
from livermore_dagster.stores.redis.candle_cache import CandleCache
from livermore_dagster.stores.redis.client import connect_async, refuse_cluster
from livermore_dagster.stores.servers import Servers

__all__ = [
    "PROBED",
    "REST_MARGIN_MS",
    "ExchangeContext",
    "Servers",
    "Stopwatch",
    "open_context",
    "probe_name",
    "with_timeframe",
    "without_refused",
    "without_timeframes",
]

log = structlog.get_logger(__name__)

PROBED = "probed_timeframes"
"""Where a row's api_limits name the timeframes that must be asked for once."""


CLOSES_CONNECTIONS = 3
"""To PostgreSQL, for storing, signals and the outbox."""
REST_MARGIN_MS = 5_000
"""How far the clock of an exchange's REST servers may be ahead of its market's (EXCHANGES §3.12: 3 s).

What REST says is taken for that much less: a lower bound only makes a candle's proof come later, while a
clock that is ahead would take an open candle for closed.
"""


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
    """One exchange as the REST flows see it. `live_clock`: the streaming service's exchange clock, if any."""

    row: ExchangeRow
    quirks: Quirks
    client: ExchangeClient
    cache: CandleCache
    table: CandleTable
    pool: Pool
    closes_pool: Pool
    """Of who takes closes: storing and alerts wait for no connection behind warm-up, fetches and repair."""
    redis: Redis
    clock: Clock = field(default_factory=SystemClock)
    live_clock: Callable[[], int | None] | None = None
    on_early: Callable[[StampedCandle], None] | None = None
    """Hears of every final candle that REST gave before it could have settled."""
    stopwatch: Stopwatch = field(init=False)
    gate: Gate = field(init=False)
    """Every connection to the exchange passes it, accounts' own ones too; what it was told holds over pauses,
    stops and starts."""

    def __post_init__(self) -> None:
        self.stopwatch = Stopwatch(self.clock)
        self.gate = Gate(self.clock, SharedClosure(self.redis, self.row.id, self.client.budget))

    def tell_early(self, candle: StampedCandle) -> None:
        """To whoever asks once more, if there is somebody at the moment."""
        if self.on_early is not None:
            self.on_early(candle)

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
            known = await self.client.server_time(priority) - REST_MARGIN_MS
            self.stopwatch.anchor(known)
        return known


@asynccontextmanager
async def open_context(
    exchange: str,
    servers: Servers,
    *,
    clock: Clock | None = None,
    live_clock: Callable[[], int | None] | None = None,
    closes: bool = False,
) -> AsyncIterator[ExchangeContext]:
    """The context of the exchange named `exchange`, closed at exit.

    Raises UnknownExchange or InactiveExchange (R6) before anything is asked of it. A persisted refusal of a
    timeframe (Coinbase 4h) has taken that timeframe out of `row.timeframes`. `closes`: they are taken here.
    """
    used = clock or SystemClock()
    async with _pools(exchange, servers, closes=closes) as (pool, closes_pool):
        async with pool.connection() as connection:
            rows = await load_exchanges(connection)
            row = require_active(row_named(exchange, rows), rows)
            row = await without_refused(connection, row)
        redis = connect_async(servers.redis_url)
        try:
            await refuse_cluster(redis)
            client = client_for(row, redis, used)
            try:
                yield ExchangeContext(
                    row=row,
                    quirks=client.dialect.quirks,
                    client=client,
                    cache=CandleCache(redis, row.id, exchange_name=row.name),
                    table=CandleTable(pool),
                    pool=pool,
                    closes_pool=closes_pool,
                    redis=redis,
                    clock=used,
                    live_clock=live_clock,
                )
            finally:
                await client.close()
        finally:
            await redis.aclose()


@asynccontextmanager
async def _pools(exchange: str, servers: Servers, *, closes: bool) -> AsyncIterator[tuple[Pool, Pool]]:
    """For the REST flows, and for who takes closes: one and the same where nobody does."""
    address, name = (servers.database_url, servers.database_ca), f"livermore-{exchange}"
    pool = await open_pool(*address, name=name)
    try:
        if not closes:
            yield pool, pool
            return
        own = await open_pool(*address, name=f"{name}-closes", max_size=CLOSES_CONNECTIONS, wait=False)
        try:
            yield pool, own
        finally:
            await own.close()
    finally:
        await pool.close()


async def without_refused(connection: AsyncConnection[Any], row: ExchangeRow) -> ExchangeRow:
    """The row less the doubtful timeframes the exchange refused when it was asked (Coinbase 4h)."""
    refused = set()
    for text in row.api_limits.get(PROBED, ()):
        probe = await read_probe(connection, row.id, probe_name(Timeframe(text)))
        if probe is not None and not probe.supported:
            refused.add(Timeframe(text))
    return without_timeframes(row, refused)


def without_timeframes(row: ExchangeRow, refused: Collection[Timeframe]) -> ExchangeRow:
    return replace(row, timeframes=tuple(tf for tf in row.timeframes if tf not in refused))


def with_timeframe(row: ExchangeRow, granted: Timeframe) -> ExchangeRow:
    had = {*row.timeframes, granted}
    return replace(row, timeframes=tuple(tf for tf in Timeframe if tf in had))


def probe_name(timeframe: Timeframe) -> str:
    """The name of a timeframe's probe in exchange_probes."""
    return f"timeframe:{timeframe.value}"
