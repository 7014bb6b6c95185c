"""Symbols an exchange does not stream although asked to: refused ones, and those it fell silent about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from livermore_dagster.clock import Clock
from livermore_dagster.errors import ExchangeError
from livermore_dagster.ingest.connections import ConnectionHub, Line
from livermore_dagster.ingest.meter import Meter
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.pipeline import Pipeline

__all__ = ["Subscriptions"]

log = structlog.get_logger(__name__)

_PAUSE_S = 1.0


class Subscriptions:
    """Real seconds throughout. Each connection keeps its exchange's message rate by itself."""

    def __init__(
        self,
        hub: ConnectionHub,
        pipeline: Pipeline,
        meter: Meter,
        clock: Clock,
        patience: Patience,
        doubt: Callable[[str, str], Awaitable[None]],
    ) -> None:
        """`doubt(symbol, why)` has it looked up whether the exchange still lists what it does not stream."""
        self._hub = hub
        self._pipeline = pipeline
        self._meter = meter
        self._clock = clock
        self._patience = patience
        self._doubt = doubt
        self._deaf: set[str] = set()
        self._some_deaf = asyncio.Event()
        self._retries: dict[str, int] = {}

    async def refused(self) -> None:
        """Part: what was refused is asked for again, symbol by symbol."""
        due = self._clock.monotonic() + self._patience.refused_again_s
        while True:
            await self._clock.sleep(_PAUSE_S)
            self._count_retries()
            if self._clock.monotonic() < due:
                continue
            due = self._clock.monotonic() + self._patience.refused_again_s
            for name in list(self._pipeline.refused):
                symbols = sorted(self._pipeline.refused.pop(name))
                for symbol in symbols:
                    await self._doubt(symbol, "its stream was refused")
                line = self._hub.line_of(name)
                if line is not None:
                    await self._subscribe(line, symbols)

    def renew(self, symbol: str) -> None:
        """The exchange trades it and streams nothing of it. Never waits."""
        self._deaf.add(symbol)
        self._some_deaf.set()

    async def deaf(self) -> None:
        """Part: unsubscribes what is not heard and subscribes it again."""
        while True:
            await self._some_deaf.wait()
            self._some_deaf.clear()
            while self._deaf:
                symbol = self._deaf.pop()
                line = self._hub.line_with(symbol)
                if line is not None:
                    self._meter.count("symbols_resubscribed")
                    await self._subscribe(line, [symbol], anew=True)

    async def _subscribe(self, line: Line, symbols: list[str], *, anew: bool = False) -> None:
        connection = line.connection
        if connection is None:
            return
        try:
            if anew:
                await connection.resubscribe(add=[], remove=symbols)
            await connection.resubscribe(add=symbols, remove=[])
        except ExchangeError as error:
            log.info("resubscribe_failed", connection=connection.name, error=str(error))

    def _count_retries(self) -> None:
        """Subscriptions the connections had to ask for again."""
        known, self._retries = self._retries, {}
        for line in self._hub.lines:
            connection = line.connection
            if connection is not None:
                tried = connection.stats.subscribe_retries
                self._retries[connection.name] = tried
                if tried > known.get(connection.name, 0):
                    self._meter.count("subscribe_retries", tried - known.get(connection.name, 0))
