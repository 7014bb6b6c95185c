"""Publishes stored alerts on `channel:alerts:{exchange_id}`, each at least once, and resumes after a crash.

A message is one JSON object: id, attempt, source_exchange_id, source_exchange, symbol, timeframe, label,
previous_label, kind (level|reversal), direction (up|down), open_ms and candle_end_ms of the candle,
triggered_ms (exchange clock at the proof), price (text), price_source (ticker|candle_close), price_age_ms,
value, signal, histogram, stage, bias, timeframes ({timeframe: {value, signal, stage, open_ms, reason,
age_ms}}; age_ms since that candle's end, a stale one counts for no bias), late, revised. `id` names the alert
for good; a repetition carries a higher `attempt`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
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

    The consumer has what it stores delivered at once, so that nothing waits for a look into the table; that
    look happens at the start, after a failure, and every `sweep_s` seconds for what fell between.
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
        self._unmarked: dict[int, int] = {}
        self._uncounted: list[HandedOver] = []
        self._wake = asyncio.Event()
        self.storing = asyncio.Lock()
        """Held from before an alert is stored until it is delivered: a sweep in between would repeat it."""

    async def deliver(self, alerts: Sequence[HandedOver], *, again: bool = False) -> None:
        """Publishes alerts that were just stored, their first attempt; `run` notes it.

        `again`: some were stored before. Those that had been withdrawn stand again and may never have left:
        whoever notifies looks for them.
        """
        await self._publish(alerts)
        if again:
            await self._redis.publish(keys.CHANNEL_ALERTS_AGAIN, json.dumps({"exchange_id": self._row.id}))
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set and what was published is noted."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._wake.set())
        swept: float | None = None
        try:
            while not (stop.is_set() and not self._unmarked):
                self._wake.clear()
                try:
                    await self._note()
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
                if stop.is_set():
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._sweep_s):
                        await self._wake.wait()
        finally:
            stopping.cancel()

    async def _sweep(self) -> None:
        while True:
            async with self.storing:
                busy = {*self._unmarked}
                async with self._pool.connection() as connection:
                    alerts = await take_unpublished(connection, self._row.id, _BATCH, busy)
            if not alerts:
                return
            await self._publish([HandedOver(alert, 0) for alert in alerts])
            await self._note()

    async def _publish(self, batch: Sequence[HandedOver]) -> None:
        channel = keys.channel_alerts(self._row.id)
        for start in range(0, len(batch), _BATCH):
            part = batch[start : start + _BATCH]
            pipe = self._redis.pipeline(transaction=False)
            for one in part:
                pipe.publish(channel, alert_message(self._row, one.alert))
            await pipe.execute()
            now_ms = self._clock.now_ms()
            for one in part:
                self._unmarked[one.alert.id] = now_ms
            self._uncounted += part

    async def _note(self) -> None:
        """Published, and to be noted: kept in mind until that is durable, so that a retry only notes it."""
        if not self._unmarked:
            return
        marking = dict(self._unmarked)
        await self._count(marking)
        async with self._pool.connection() as connection:
            await mark_published(connection, list(marking), max(marking.values()))
        for alert_id in marking:
            self._unmarked.pop(alert_id, None)

    async def _count(self, published_ms: Mapping[int, int]) -> None:
        counting, self._uncounted = self._uncounted, []
        if not counting:
            return
        waits = Counter(published_ms[one.alert.id] - one.wall_ms for one in counting if one.wall_ms)
        pipe = self._redis.pipeline(transaction=False)
        metrics.count(pipe, self._row.id, "alerts_published", len(counting))
        for wait_ms, times in waits.items():
            CLOSE_TO_ALERT.observe(pipe, wait_ms, times)
        await pipe.execute()
