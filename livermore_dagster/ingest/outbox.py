"""Publishes stored alerts on `channel:alerts:{exchange_id}`, each at least once, and resumes after a crash.

A message is one JSON object: id, attempt, source_exchange_id, source_exchange, symbol, timeframe, label,
previous_label, kind (level|reversal), direction (up|down), open_ms and candle_end_ms of the candle,
triggered_ms (exchange clock at the proof), price (text), price_source (ticker|candle_close), price_age_ms,
value, signal, histogram, stage, bias, timeframes ({timeframe: {value, signal, stage, open_ms, reason}}),
late, revised. `id` names the alert for good; a repetition carries a higher `attempt`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import psycopg
import redis.asyncio
import structlog
from redis.exceptions import RedisError

from livermore_dagster.clock import Clock, SystemClock
from livermore_dagster.ingest.alert_rows import alert_message
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.stores.postgres.alerts import AlertRow, mark_published, take_unpublished
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.redis import keys, metrics

__all__ = ["HandedOver", "Outbox"]

_log = structlog.get_logger(__name__)
_BATCH: Final = 500
_RETRY_S: Final = 0.5
CLOSE_TO_ALERT: Final = metrics.LatencyHistogram("close_to_alert")


class HandedOver(NamedTuple):
    """A stored alert. `wall_ms`: when its close was appended, 0 where the latency means nothing (late)."""

    alert: AlertRow
    wall_ms: int


class Outbox:
    """One per exchange, in the process that stores its alerts.

    The consumer hands over what it stores, so that nothing waits for a look into the table; that look happens
    at the start, after a failure, and every `sweep_s` seconds for what fell between.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        pool: Pool,
        row: ExchangeRow,
        clock: Clock | None = None,
        *,
        sweep_s: float = 5.0,
    ) -> None:
        self._redis = client
        self._pool = pool
        self._row = row
        self._clock = clock or SystemClock()
        self._sweep_s = sweep_s
        self._given: list[HandedOver] = []
        self._unmarked: dict[int, int] = {}
        self._wake = asyncio.Event()
        self.storing = asyncio.Lock()
        """Held from before an alert is stored until it is handed over: a sweep in between would repeat it."""

    def hand_over(self, alerts: Sequence[HandedOver]) -> None:
        """Have these published now. They are stored and count as their first attempt."""
        self._given += alerts
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set and what was handed over has left."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._wake.set())
        swept: float | None = None
        try:
            while not (stop.is_set() and not self._given):
                try:
                    await self._publish_given()
                    if swept is None or self._clock.monotonic() - swept >= self._sweep_s:
                        await self._sweep()
                        swept = self._clock.monotonic()
                except (RedisError, psycopg.Error, OSError) as error:
                    _log.warning("outbox_waiting", exchange=self._row.name, error=str(error))
                    swept = None
                    if stop.is_set():
                        return
                    await self._clock.sleep(_RETRY_S)
                    continue
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._sweep_s)
                if not self._given:
                    self._wake.clear()
        finally:
            stopping.cancel()

    async def _publish_given(self) -> None:
        while self._given:
            batch, self._given = self._given[:_BATCH], self._given[_BATCH:]
            await self._publish(batch)
        self._wake.clear()
        await self._mark()

    async def _sweep(self) -> None:
        while True:
            async with self.storing:
                busy = {*self._unmarked, *(one.alert.id for one in self._given)}
                async with self._pool.connection() as connection:
                    alerts = await take_unpublished(connection, self._row.id, _BATCH, busy)
            if not alerts:
                return
            await self._publish([HandedOver(alert, 0) for alert in alerts])
            await self._mark()

    async def _publish(self, batch: Sequence[HandedOver]) -> None:
        channel = keys.channel_alerts(self._row.id)
        pipe = self._redis.pipeline(transaction=False)
        for one in batch:
            pipe.publish(channel, alert_message(self._row, one.alert))
        await pipe.execute()
        now_ms = self._clock.now_ms()
        for one in batch:
            self._unmarked[one.alert.id] = now_ms
        pipe = self._redis.pipeline(transaction=False)
        metrics.count(pipe, self._row.id, "alerts_published", len(batch))
        for one in batch:
            if one.wall_ms:
                CLOSE_TO_ALERT.observe(pipe, now_ms - one.wall_ms)
        await pipe.execute()

    async def _mark(self) -> None:
        """Published, and to be noted: kept in mind until that is durable, so that a retry only notes it."""
        if not self._unmarked:
            return
        marking = dict(self._unmarked)
        async with self._pool.connection() as connection:
            await mark_published(connection, list(marking), max(marking.values()))
        for alert_id in marking:
            self._unmarked.pop(alert_id, None)
