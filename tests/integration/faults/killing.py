"""Every act of faults upon one exchange, and amid each of them something is killed and begun anew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import redis

from tests.e2e.comparison import alert_differences
from tests.e2e.platform_run import Place, Truth
from tests.integration.faults.instance import Instance
from tests.integration.faults.playing import NEAR_MS, audit, whole
from tests.integration.faults.scenarios import Scenario, acts_of, orders_of
from tests.integration.faults.servers import Servers, own_servers
from tests.integration.faults.stage import BANS, BRISK, SPEED, START_MS, TOP, Order, Stage, Wrong
from tests.integration.ingest.played import played, until

__all__ = ["VICTIMS", "Left", "play"]

VICTIMS = ("ingest", "valkey", "postgresql")
STRUCK_S = 8.0
"""Real seconds an act may take to begin."""
BACK_S = 60.0
"""After a kill an exchange beats again this soon."""
OVER_S = 60.0
"""So long may a fault last on."""
SETTLE_S = 90.0
AMID_MS = 45_000
"""Market ms: of an outage so much has passed when something is killed in it."""
SHOWN = 6


@dataclass
class Left:
    """What a run left behind. `troubles`: what is not as it must be, in words."""

    troubles: list[str] = field(default_factory=list)
    killed_amid: list[str] = field(default_factory=list)
    """Acts of which something had struck, and something was still to come, when it was killed."""
    back_s: dict[str, float] = field(default_factory=dict)
    """Real seconds from each kill until a connection streamed again, by act."""
    audited: list[str] = field(default_factory=list)
    """What only the audit put right."""
    alerts: int = 0


def play(exchange: str, victim: str) -> Left:
    left = Left()
    with own_servers() as servers, _instance_of(exchange, servers) as (stage, instance):
        run = _Run(stage, servers, instance, victim, left)
        for act in acts_of(exchange):
            run.strike(act)
        run.judge()
        code = instance.end()
        if code:
            left.troubles.append(f"the last instance ended with {code}")
    return left


@contextmanager
def _instance_of(exchange: str, servers: Servers) -> Iterator[tuple[Stage, Instance]]:
    """A market, and a process that has warmed up on it."""
    market = played(
        servers.redis_url,
        servers.database_url,
        [exchange],
        SPEED[exchange],
        START_MS,
        timeframes=BRISK.timeframes,
    )
    with market as platform:
        platform.change(exchange, **BRISK.settings, **({} if exchange == "coinbase" else BANS))
        platform.want(exchange, top=TOP)
        with closing(Instance(platform, exchange, servers.home / "instance.log")) as instance:
            instance.start()
            until(lambda: platform.state(exchange) == "active", BACK_S, f"{exchange} active")
            yield Stage(exchange, platform, BRISK, set()), instance


class _Run:
    def __init__(self, stage: Stage, servers: Servers, instance: Instance, victim: str, left: Left) -> None:
        self._stage, self._platform, self._exchange = stage, stage.platform, stage.exchange
        self._servers, self._instance, self._victim, self._left = servers, instance, victim, left
        self._lenient: list[tuple[int, int]] = []
        """Market times at which fillers are as good as no rows."""
        # A series' first live close is the first it judges.
        stage.flowing_connection()
        self._judged = stage.market_now()

    # --- an act -------------------------------------------------------------------------------------------
    def strike(self, act: Sequence[Scenario]) -> None:
        """Kills in its midst, then waits until it is over and candles flow."""
        name = "+".join(one.name for one in act)
        stage = self._stage
        stage.connection()
        begun, marks = stage.market_now(), stage.marks()
        orders = orders_of(act, stage)
        ids = stage.order(*orders)
        if self._amid(orders, ids, act, marks.counters):
            self._left.killed_amid.append(name)
        self._kill(name)
        try:
            until(lambda: not stage.pending(ids), OVER_S, lambda: f"still pending: {stage.pending(ids)}")
            now = stage.market_now()
            until(
                lambda: stage.settled() >= now, SETTLE_S, lambda: f"settled to {stage.settled()}, not {now}"
            )
        except AssertionError as trouble:
            self._left.troubles.append(f"{name}: {trouble}")
        if any(one.observed_only for one in act):
            self._lenient.append((begun - NEAR_MS, stage.market_now() + NEAR_MS))

    def _amid(
        self, orders: Sequence[Order], ids: Sequence[int], act: Sequence[Scenario], before: Any
    ) -> bool:
        """Waits until it has begun; whether it has not ended too."""
        outage = max((int(order.get("at_ms", 0)) for order in orders), default=0)
        # What was refused must have been heard: an answer that nobody reads tells nobody.
        refusals = [name for one in act for name in one.counters if name.startswith("http_")]

        def struck() -> bool:
            if outage:
                return self._stage.market_now() >= outage + AMID_MS
            faults = [one for one in self._platform.ask(self._exchange, "faults") if one["id"] in ids]
            counters = self._platform.counters(self._exchange)
            heard = all(counters.get(name, 0) > before.get(name, 0) for name in refusals)
            return heard and any(one["done"] for one in faults)

        return _comes(struck, STRUCK_S) and bool(outage or self._stage.pending(ids))

    def _kill(self, name: str) -> None:
        """kill -9, anew at once, and until it streams."""
        at = time.monotonic()
        if self._victim == "ingest":
            self._instance.kill()
            self._instance.start()
        else:
            self._servers.kill(self._victim)
            self._servers.start(self._victim)
        until(self._flows, BACK_S, f"{name}: {self._victim} is back, the exchange is not\n{self._log()}")
        self._left.back_s[name] = round(time.monotonic() - at, 1)

    def _flows(self) -> bool:
        assert self._instance.lives, f"the instance ended\n{self._log()}"
        streams = any(one["streams"] for one in self._platform.ask(self._exchange, "connections"))
        return streams and self._platform.state(self._exchange) == "active"

    def _log(self) -> str:
        return "\n".join(list(self._instance.texts())[-12:])

    # --- the end ------------------------------------------------------------------------------------------
    def judge(self) -> None:
        stage, left = self._stage, self._left
        start, target = whole(stage, self._judged)
        if not _comes(lambda: stage.settled() >= target, SETTLE_S):
            left.troubles.append(f"settled to {stage.settled()} only, not to {target}")
        _comes(lambda: not self._wrong(start, target), 10.0)
        left.audited = self._wrong(start, target)
        asyncio.run(audit(self._platform, self._exchange, start, target))
        _comes(lambda: not self._wrong(start, target), SETTLE_S)
        left.troubles += self._wrong(start, target)[:SHOWN]
        _comes(lambda: not self._alerts(target), SETTLE_S)
        left.troubles += self._alerts(target)[:SHOWN]
        self._count()

    def _wrong(self, start: int, end: int) -> list[str]:
        return [str(one) for one in self._stage.wrong(start, end) if not self._excused(one)]

    def _excused(self, one: Wrong) -> bool:
        return one.is_filler and any(one.overlaps(*span) for span in self._lenient)

    def _alerts(self, end: int) -> list[str]:
        servers = self._servers
        place = Place(servers.home, servers.redis_url, servers.database_url)
        door = self._platform.addresses[self._exchange]["control_url"]
        symbols = self._platform.symbols(self._exchange)
        return alert_differences(
            place, Truth({self._exchange: door}), self._exchange, symbols, self._judged, end
        )

    def _count(self) -> None:
        """Alerts, and refusals beyond the first of each fault that gives them."""
        again = self._stage.refused_again()
        if again:
            self._left.troubles.append(f"refused {again} times beyond what was ordered")
        query = "SELECT count(*) FROM alert_history WHERE withdrawn_ms IS NULL"
        self._left.alerts = int(self._platform.query(query)[0][0])


def _comes(holds: Callable[[], bool], seconds: float) -> bool:
    """Whether that comes to hold within so long; a server just killed may not answer yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if holds():
                return True
        except (redis.RedisError, psycopg.OperationalError):
            pass
        time.sleep(0.1)
    return False
