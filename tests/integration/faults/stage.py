"""One live service of one simulated exchange, upon which faults are let loose one after another."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import structlog
import structlog.testing

from livermore_dagster.control.states import InstanceState
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest import boundary_raiser
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.service import IngestService
from livermore_dagster.market.candle import Rank
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.member import decode
from livermore_dagster.stores.redis.metrics import Incident, read_incidents_sync
from tests.integration.ingest.played import IDS, Platform, Values, played, until

START_MS = 1_767_655_800_000  # 2026-01-05T23:30:00Z
SPEED = {"binance": 60.0, "binance_us": 60.0, "coinbase": 120.0}
"""At which a Binance minute takes 1 s and Coinbase's five minutes 2.5 s."""
TOP = 6
IMPATIENT = Patience(
    dead_s=5.0,
    silent_s=9.0,
    stable_s=0.5,
    ack_s=1.5,
    refused_again_s=3.0,
    silence_s=1.5,
    flow_s=1.5,
    flag_s=3.0,
    skew_look_s=1.5,
    repair_s=(0.5, 1.0, 2.0, 4.0, 8.0, 8.0),
)
"""A fault is noticed in seconds; everything else is as in earnest."""

Order = Mapping[str, Any]


@dataclass
class Stage:
    """`exchange`'s market and stores (`platform`) with its `service` running."""

    exchange: str
    platform: Platform
    service: IngestService
    log: Sequence[Mapping[str, Any]] = field(default_factory=list)
    """What was logged, every event of it."""

    @property
    def liquid(self) -> str:
        """A monitored symbol that always trades, and is not the first."""
        kinds = {one["symbol"]: one["kind"] for one in self.platform.ask(self.exchange, "symbols")}
        monitored = self.platform.symbols(self.exchange)
        return next(symbol for symbol in monitored[1:] if kinds[symbol] == "liquid")

    def order(self, *orders: Order) -> list[int]:
        """What shall befall the exchange; ids of the faults among it."""
        ids = []
        for order in orders:
            door = self.platform.addresses[self.exchange]["control_url"]
            what = "market" if "event" in order else "faults"
            reply = httpx.post(f"{door}/{what}", json=dict(order), timeout=10)
            assert reply.status_code == 200, f"{order}: {reply.text}"
            if what == "faults":
                ids.append(int(reply.json()["id"]))
        return ids

    def pending(self, ids: Collection[int]) -> list[str]:
        """Those of the faults that are still active, or have not struck as often as they shall."""
        return [
            str(one)
            for one in self.platform.ask(self.exchange, "faults")
            if one["id"] in ids and (one["active"] or (one["count"] and not one["done"]))
        ]

    def given(self) -> int:
        """429 and 418 the exchange has answered."""
        counters = self.platform.ask(self.exchange, "counters")
        return int(counters["http_429"] + counters["http_418"])

    # --- marks ------------------------------------------------------------------------------------------
    def newest_incident(self) -> str:
        with self.platform.redis() as client:
            newest = client.xrevrange(keys.INCIDENTS, count=1)
        return str(newest[0][0]) if newest else "0"

    def incidents(self, after: str) -> list[Incident]:
        with self.platform.redis() as client:
            return read_incidents_sync(client, after)

    # --- truth ------------------------------------------------------------------------------------------
    def timeframes(self) -> tuple[Timeframe, ...]:
        return next(row for row in ROWS if row.name == self.exchange).streamed_timeframes

    def flows(self, beyond_ms: int, seconds: float) -> None:
        """Waits until every series is settled beyond that market time, and stored."""
        until(
            lambda: self.platform.settled(self.exchange) >= beyond_ms,
            seconds,
            f"{self.exchange} settled to {beyond_ms}",
        )

    def wrong(self, start_ms: int, end_ms: int, *, observed_only: bool = False) -> list[str]:
        """Where PostgreSQL or Redis are not the truth of [start, end)."""
        found: list[str] = []
        for symbol in self.platform.symbols(self.exchange):
            for timeframe in self.timeframes():
                truth = self.platform.truth(self.exchange, symbol, timeframe, start_ms, end_ms)
                stores = {
                    "PostgreSQL": self.platform.stored(self.exchange, symbol, timeframe, start_ms, end_ms),
                    "Redis": self._cached(symbol, timeframe, start_ms, end_ms),
                }
                for store, held in stores.items():
                    found += [
                        f"{store} {symbol} {timeframe.value} {at}: truth {truth.get(at)}, held {held.get(at)}"
                        f" {self._provenance(symbol, timeframe, at)}"
                        for at in sorted(truth.keys() | held.keys())
                        if truth.get(at) != held.get(at)
                        and not (observed_only and _is_filler(truth.get(at)) and _is_filler(held.get(at)))
                    ]
        return found

    def _provenance(self, symbol: str, timeframe: Timeframe, at: int) -> str:
        """How a candle came to be what it is: for whoever reads the failure."""
        with self.platform.redis() as client:
            members = client.zrange(keys.candles(IDS[self.exchange], symbol, timeframe), at, at, byscore=True)
        known = [decode(member, symbol, timeframe) for member in members]
        return "; ".join(
            f"{one.rank.name} by {one.origin.value}, stamp {one.stamp_ms - one.end_ms:+} ms, "
            f"proven {one.proven_ms - one.end_ms:+} ms of its end"
            for one in known
        )

    def _cached(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> dict[int, Values]:
        with self.platform.redis() as client:
            members = client.zrange(
                keys.candles(IDS[self.exchange], symbol, timeframe),
                start_ms,
                end_ms - timeframe.ms,
                byscore=True,
            )
        known = [decode(member, symbol, timeframe) for member in members]
        return {
            one.candle.open_ms: (
                one.candle.open,
                one.candle.high,
                one.candle.low,
                one.candle.close,
                one.candle.volume,
            )
            for one in known
            if one.rank is not Rank.OPEN
        }


def _is_filler(values: Values | None) -> bool:
    return values is None or values[4] == "0"


@contextlib.contextmanager
def staged(
    redis_url: str,
    database_url: str,
    exchange: str,
    *,
    without: Callable[[pytest.MonkeyPatch], None] = lambda _: None,
) -> Iterator[Stage]:
    """A service of `exchange` that has warmed up. `without` takes a defence out of it."""
    with (
        pytest.MonkeyPatch.context() as patched,
        structlog.testing.capture_logs() as log,
        played(redis_url, database_url, [exchange], SPEED[exchange], START_MS) as platform,
    ):
        # No Dagster is here to fetch a boundary.
        patched.setattr(boundary_raiser, "_FALLBACK_S", 0.5)
        without(patched)
        platform.want(exchange, top=TOP)
        service = IngestService(platform, exchange, provenance=platform.provenance, patience=IMPATIENT)
        service.start()
        try:
            assert service.wait_for_state(InstanceState.ACTIVE, 60), service.error
            yield Stage(exchange, platform, service, log)
        finally:
            stopped = service.stop()
        assert stopped
        assert service.error is None
