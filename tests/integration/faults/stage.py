"""One live service of one simulated exchange, upon which faults are let loose one after another."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from livermore_dagster.control.states import InstanceState
from livermore_dagster.exchanges import caller
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest import boundary_raiser, throttle
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.service import IngestService
from livermore_dagster.market.candle import Rank, canonical
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.simulator.fault_kinds import ACTS
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.member import decode
from livermore_dagster.stores.redis.metrics import Incident, read_incidents_sync
from tests.integration.ingest.played import IDS, Platform, Values, played, until

START_MS = 1_767_655_800_000  # 2026-01-05T23:30:00Z
SPEED = {"binance": 60.0, "binance_us": 60.0, "coinbase": 120.0}
"""At which a Binance minute takes 1 s and Coinbase's five minutes 2.5 s."""
TOP = 6


@dataclass(frozen=True)
class Pace:
    """Which `timeframes` the exchange has, how patient its service is, and the exchange's `settings`."""

    timeframes: tuple[Timeframe, ...]
    patience: Patience
    settings: Mapping[str, float]


_RETRIES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0)
WHOLE = Pace(
    tuple(Timeframe),
    Patience(
        dead_s=5.0,
        silent_s=9.0,
        stable_s=0.5,
        ack_s=1.5,
        refused_again_s=3.0,
        silence_s=1.5,
        flow_s=1.5,
        flag_s=3.0,
        skew_look_s=1.5,
        repair_s=_RETRIES_S,
    ),
    {},
)
"""A fault is noticed in seconds; everything else is as in earnest."""
BRISK = Pace(
    (Timeframe.M1, Timeframe.M5, Timeframe.M15),
    Patience(
        dead_s=3.0,
        silent_s=4.0,
        stable_s=0.5,
        ack_s=1.0,
        refused_again_s=2.0,
        silence_s=1.0,
        flow_s=1.0,
        flag_s=1.5,
        skew_look_s=0.7,
        repair_s=_RETRIES_S,
    ),
    {"update_s": 0.25, "beat_s": 0.25},
)
"""Frames come four times a second, so that what is silent for a second or two is silent indeed."""
BANS = {"ban_s": 12.0}
"""Where the exchange has bans: each request during one lengthens it by a twelfth of this."""

Order = Mapping[str, Any]
SeriesKey = tuple[str, Timeframe]
Rows = dict[int, Values]
"""Values by open."""


@dataclass(frozen=True)
class Wrong:
    """A candle that is not the exchange's."""

    store: str
    symbol: str
    timeframe: Timeframe
    open_ms: int
    text: str
    is_filler: bool = False
    """A row of volume 0 here, none there."""

    def overlaps(self, from_ms: int, to_ms: int) -> bool:
        return self.open_ms < to_ms and self.open_ms + self.timeframe.ms > from_ms

    def __str__(self) -> str:
        return f"{self.store} {self.symbol} {self.timeframe.value} {self.open_ms}: {self.text}"


@dataclass(frozen=True)
class Marks:
    """What had been counted and told at a moment."""

    counters: Mapping[str, int]
    incident: str
    """Id of the newest incident."""


@dataclass
class Stage:
    """`exchange`'s market and stores (`platform`) with its service running, which logged these texts."""

    exchange: str
    platform: Platform
    pace: Pace
    logged: Collection[str]

    @property
    def liquid(self) -> str:
        """A monitored symbol that always trades, and is not the first."""
        kinds = {one["symbol"]: one["kind"] for one in self.platform.ask(self.exchange, "symbols")}
        monitored = self.platform.symbols(self.exchange)
        return next(symbol for symbol in monitored[1:] if kinds[symbol] == "liquid")

    @property
    def sparse(self) -> str:
        """A monitored symbol that trades seldom."""
        kinds = {one["symbol"]: one["kind"] for one in self.platform.ask(self.exchange, "symbols")}
        return next(one for one in self.platform.symbols(self.exchange) if kinds[one] == "sparse")

    def order(self, *orders: Order) -> list[int]:
        """What shall befall the exchange; ids of the faults among it."""
        ids = []
        for order in orders:
            what = "market" if "event" in order else "faults"
            taken = self.platform.post(self.exchange, what, **order)
            if what == "faults":
                ids.append(int(taken["id"]))
        return ids

    def pending(self, ids: Collection[int]) -> list[str]:
        """Those of the faults that have not struck as often as they shall, or still befall somebody."""
        there = {one["id"] for one in self.platform.ask(self.exchange, "connections")}

        def lasts(fault: Mapping[str, Any]) -> bool:
            """What is done once lasts no longer than that; who is gone is not concerned any more."""
            aim = fault["connection"]
            return fault["active"] and fault["kind"] not in ACTS and (aim is None or aim in there)

        return [
            str(one)
            for one in self.platform.ask(self.exchange, "faults")
            if one["id"] in ids and (lasts(one) or (one["count"] and not one["done"]))
        ]

    def connection(self) -> int:
        """The exchange's id of the connection that streams now."""
        until(lambda: self.streams, 60, "a connection that streams")
        return max(int(one["id"]) for one in self._streams())

    def flowing_connection(self) -> int:
        """The same, once it has brought a whole bucket: only what flowed can stall."""
        step = min(timeframe.ms for timeframe in self.timeframes())
        self.connection()
        now = self.market_now()
        target = now - now % step + 2 * step
        until(lambda: self.settled() >= target, 120, f"{self.exchange} settled to {target}")
        return self.connection()

    @property
    def streams(self) -> bool:
        """Whether any connection does."""
        return bool(self._streams())

    def _streams(self) -> list[Mapping[str, Any]]:
        return [one for one in self.platform.ask(self.exchange, "connections") if one["streams"]]

    def market_now(self) -> int:
        return self.platform.market_now(self.exchange)

    def given(self) -> int:
        """429 and 418 the exchange has answered."""
        counters = self.platform.ask(self.exchange, "counters")
        return int(counters["http_429"] + counters["http_418"])

    def refused_again(self) -> int:
        """Refusals beyond the first of each fault that gives them, and what was under way with that."""
        faults = self.platform.ask(self.exchange, "faults")
        ordered = sum(1 for one in faults if one["kind"] in ("rate_limit", "ban") and one["done"])
        refused = int(self.platform.ask(self.exchange, "counters").get("refusals", 0))
        return max(0, refused - ordered)

    def used(self) -> int:
        """Weight that the budget counts as used."""
        with self.platform.redis() as client:
            return int(client.hget(keys.budget(IDS[self.exchange]), "used") or 0)

    def is_closed(self) -> bool:
        """Whether refusals keep REST from being asked."""
        with self.platform.redis() as client:
            until = client.hget(keys.budget(IDS[self.exchange]), "closed_until")
        return int(float(until or 0)) > time.time_ns() // 1_000_000

    # --- marks ------------------------------------------------------------------------------------------
    def marks(self) -> Marks:
        return Marks(self.platform.counters(self.exchange), self.newest_incident())

    def lacking(
        self, counters: Mapping[str, int], incidents: Sequence[IncidentName], since: Marks
    ) -> list[str]:
        """Counters ("a|b": one of them) that have not grown by so much, incidents that were not told."""
        now, before = self.platform.counters(self.exchange), since.counters
        told = {one.name for one in self.incidents(since.incident)}
        return [
            *(
                names
                for names, growth in counters.items()
                if all(now.get(name, 0) < before.get(name, 0) + growth for name in names.split("|"))
            ),
            *(name.value for name in incidents if name.value not in told),
        ]

    def newest_incident(self) -> str:
        with self.platform.redis() as client:
            newest = client.xrevrange(keys.INCIDENTS, count=1)
        return str(newest[0][0]) if newest else "0"

    def incidents(self, after: str) -> list[Incident]:
        with self.platform.redis() as client:
            return read_incidents_sync(client, after)

    # --- truth ------------------------------------------------------------------------------------------
    def timeframes(self) -> tuple[Timeframe, ...]:
        """Those the exchange streams here."""
        row = next(row for row in ROWS if row.name == self.exchange)
        return tuple(timeframe for timeframe in row.streamed_timeframes if timeframe in self.pace.timeframes)

    def settled(self) -> int:
        """Market ms up to which every series is final."""
        return self.platform.settled(self.exchange)

    def wrong(self, start_ms: int, end_ms: int) -> list[Wrong]:
        """Where PostgreSQL or Redis are not the truth of [start, end)."""
        found: list[Wrong] = []
        series = [
            (symbol, one) for symbol in self.platform.symbols(self.exchange) for one in self.timeframes()
        ]
        stored = self._stored(series, start_ms, end_ms)
        cached = self._cached(series, start_ms, end_ms)
        for symbol, timeframe in series:
            truth = self.platform.truth(self.exchange, symbol, timeframe, start_ms, end_ms)
            for store, known in (("PostgreSQL", stored), ("Redis", cached)):
                held = known[symbol, timeframe]
                found += [
                    Wrong(
                        store,
                        symbol,
                        timeframe,
                        at,
                        f"truth {truth.get(at)}, held {held.get(at)}; "
                        f"{self._provenance(symbol, timeframe, at)}",
                        _is_filler(truth.get(at)) and _is_filler(held.get(at)),
                    )
                    for at in sorted(truth.keys() | held.keys())
                    if truth.get(at) != held.get(at)
                ]
        return found

    def _stored(self, series: Sequence[SeriesKey], start_ms: int, end_ms: int) -> dict[SeriesKey, Rows]:
        """PostgreSQL's candles in [start, end), read at once: connections cost more than rows."""
        found: dict[SeriesKey, Rows] = {key: {} for key in series}
        rows = self.platform.query(
            "SELECT symbol, timeframe, open_ms, open, high, low, close, volume FROM candles"
            " WHERE exchange_id = %s AND open_ms >= %s AND open_ms < %s",
            IDS[self.exchange], start_ms, end_ms,
        )  # fmt: skip
        for symbol, name, open_ms, *values in rows:
            key = symbol, Timeframe(name)
            if key in found and open_ms + key[1].ms <= end_ms:
                opened, high, low, close, volume = map(canonical, values)
                found[key][open_ms] = (opened, high, low, close, volume)
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

    def _cached(self, series: Sequence[SeriesKey], start_ms: int, end_ms: int) -> dict[SeriesKey, Rows]:
        """Redis' final candles in [start, end)."""
        with self.platform.redis() as client:
            pipe = client.pipeline(transaction=False)
            for symbol, timeframe in series:
                key = keys.candles(IDS[self.exchange], symbol, timeframe)
                pipe.zrange(key, start_ms, end_ms - timeframe.ms, byscore=True)
            replies = pipe.execute()
        found: dict[SeriesKey, Rows] = {}
        for (symbol, timeframe), members in zip(series, replies, strict=True):
            known = [decode(member, symbol, timeframe) for member in members]
            found[symbol, timeframe] = {
                one.open_ms: (one.open, one.high, one.low, one.close, one.volume)
                for one in (stamped.candle for stamped in known if stamped.rank is not Rank.OPEN)
            }
        return found


def _is_filler(values: Values | None) -> bool:
    return values is None or values[4] == "0"


@contextlib.contextmanager
def logged_texts() -> Iterator[set[str]]:
    """Every `text` this process logs meanwhile; its log stays what it is."""
    texts: set[str] = set()

    def remember(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        texts.add(str(event.get("text", "")))
        return event

    before = structlog.get_config()["processors"]
    structlog.configure(processors=[remember, *before])
    try:
        yield texts
    finally:
        structlog.configure(processors=before)


@contextlib.contextmanager
def staged(
    redis_url: str,
    database_url: str,
    exchange: str,
    *,
    pace: Pace = WHOLE,
    speed: float | None = None,
    start_ms: int = START_MS,
    without: Callable[[pytest.MonkeyPatch], None] = lambda _: None,
) -> Iterator[Stage]:
    """A service of `exchange` that has warmed up. `without` takes a defence out of it."""
    market = played(
        redis_url, database_url, [exchange], speed or SPEED[exchange], start_ms, timeframes=pace.timeframes
    )
    with pytest.MonkeyPatch.context() as patched, logged_texts() as logged, market as platform:
        platform.change(exchange, **pace.settings, **({} if exchange == "coinbase" else BANS))
        # No Dagster is here to fetch a boundary.
        patched.setattr(boundary_raiser, "_FALLBACK_S", 0.5)
        # What is like another of the last ten seconds is told with the last of them: acts are shorter.
        patched.setattr(throttle, "_WINDOW_S", 1.0)
        patched.setattr(caller, "_TELL_EVERY_S", 1.0)
        without(patched)
        platform.want(exchange, top=TOP)
        service = IngestService(platform, exchange, provenance=platform.provenance, patience=pace.patience)
        service.start()
        try:
            assert service.wait_for_state(InstanceState.ACTIVE, 180), service.error
            yield Stage(exchange, platform, pace, logged)
        finally:
            stopped = service.stop(30.0)
        assert stopped, f"{exchange} did not stop"
        assert service.error is None, service.error
