"""The live service's counters and latencies, gathered in memory and written about once a second."""

from __future__ import annotations

from collections import Counter

import redis.asyncio

from livermore_dagster.ingest.repair import RepairReport
from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.market.closing import Closer
from livermore_dagster.market.exchange_clock import ExchangeClock
from livermore_dagster.stores.redis import keys, metrics

__all__ = ["Meter"]

_CLOSE_LAG = metrics.LatencyHistogram("close_lag")


class Meter:
    """Counting costs an addition; what could not be written is kept for the next time."""

    def __init__(
        self, exchange_id: int, closer: Closer, exchange_clock: ExchangeClock, repairs: RepairReport
    ) -> None:
        self._exchange_id = exchange_id
        self._repairs = repairs
        self._closer = closer
        self._exchange_clock = exchange_clock
        self._counts: Counter[str] = Counter()
        self._lags: Counter[int] = Counter()
        self._told: Counter[str] = Counter()

    def count(self, name: str, by: int = 1) -> None:
        self._counts[name] += by

    def closed(self, stamped: StampedCandle) -> None:
        """A live close: its lag is the exchange's clock when it was proven, less the candle's end."""
        self._lags[max(0, stamped.proven_ms - stamped.end_ms)] += 1
        if stamped.candle.open_ms % stamped.timeframe.ms:
            self._counts["off_grid"] += 1

    async def flush(self, client: redis.asyncio.Redis) -> None:
        """Writes what came since the last time, and how far all series are settled."""
        totals = Counter(
            unproven=self._closer.stats.unproven,
            silent_asks=self._closer.stats.silent,
            stream_pauses=self._closer.stats.pauses,
            clock_steps_back=self._closer.stats.steps_back,
            frames_repeated=self._closer.stats.repeated,
            repair_retries=self._repairs.retried,
            buckets_absent=self._repairs.absent,
            repairs_given_up=self._repairs.given_up,
            rest_confirmed=self._repairs.confirmed,
            rest_corrected=self._repairs.corrected,
            clock_jumps_refused=self._exchange_clock.refused,
        )
        counts, lags = self._counts + (totals - self._told), self._lags
        pipe = client.pipeline(transaction=True)
        for name, by in counts.items():
            metrics.count(pipe, self._exchange_id, name, by)
        for lag_ms, times in lags.items():
            _CLOSE_LAG.observe(pipe, lag_ms, times)
        settled = self._closer.settled_until()
        if settled:
            pipe.set(keys.settled(self._exchange_id), settled)
        self._counts, self._lags = Counter(), Counter()
        written = False
        try:
            await pipe.execute()
            written = True
        finally:
            if written:
                self._told = totals
            else:
                self._counts += counts - (totals - self._told)
                self._lags += lags
