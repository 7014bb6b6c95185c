"""One storm over one live service, and what is to be said of it afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx

from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.exchange_candles import matches_exchange
from livermore_dagster.ingest.context import open_context
from livermore_dagster.market.timeframe import Timeframe
from tests.e2e.comparison import alert_differences
from tests.e2e.platform_run import Place, Truth
from tests.integration.faults.chronicle import Chronicle
from tests.integration.faults.stage import Stage, staged
from tests.integration.ingest.played import IDS

__all__ = ["Told", "play", "record"]

STORM_S = 60.0
CALM_S = 60.0
"""Real seconds in which everything must be settled once the storm is over, and REST may be asked again."""
PENANCE_S = 240.0
"""Real seconds for which bans, each lengthened by what was sent before the first was read, may outlast it."""
SETTLE_S = 20.0
"""Real seconds the stores may then take to be the truth, and the alerts the oracle's."""
SPEED = {"binance": 20.0, "binance_us": 20.0, "coinbase": 60.0}
"""Market minutes go by in 3 s on Binance, Coinbase's five in 5 s."""
MIDNIGHT_MS = 1_767_657_600_000  # 2026-01-06T00:00:00Z
BEFORE_S = 35.0
"""Real seconds of market time before midnight: all timeframes close amid the storm."""
SHOWN = 6


@dataclass
class Told:
    """`troubles`: what was not as it must be, in words. Times in real seconds."""

    exchange: str
    seed: int
    struck: dict[str, int] = field(default_factory=dict)
    """How often each kind of fault did."""
    revised: int = 0
    alerts: int = 0
    audited: int = 0
    """Candles that only an audit put right."""
    refused: int = 0
    """429 and 418 given."""
    refused_again: int = 0
    """Refusals beyond the first of each fault that gives them, and what was under way with that."""
    settled_s: float = 0.0
    """From the storm's end, or from when REST might be asked again, to all being settled."""
    closed_s: float = 0.0
    """From the storm's end to when REST might be asked again."""
    before_audit: list[str] = field(default_factory=list)
    """What only an audit found: not even the exchange's own numbers told of it."""
    troubles: list[str] = field(default_factory=list)


def record(told: Told) -> None:
    """Adds a line to the file LIVERMORE_STORM_RECORD names, if it does."""
    path = os.environ.get("LIVERMORE_STORM_RECORD")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(told)) + "\n")


def play(redis_url: str, database_url: str, home: Path, exchange: str, seed: int) -> Told:
    speed = SPEED[exchange]
    start_ms = MIDNIGHT_MS - int(BEFORE_S * speed * 1000)
    told = Told(exchange, seed)
    with (
        staged(redis_url, database_url, exchange, speed=speed, start_ms=start_ms) as stage,
        closing(Chronicle(redis_url, IDS[exchange])) as chronicle,
    ):
        storm = _Storm(stage, chronicle, Place(home, redis_url, database_url), told)
        storm.blow()
        storm.settle()
        storm.judge()
    return told


class _Storm:
    def __init__(self, stage: Stage, chronicle: Chronicle, place: Place, told: Told) -> None:
        self.stage, self.platform, self.exchange = stage, stage.platform, stage.exchange
        self.chronicle, self.place, self.told = chronicle, place, told
        self.door = self.platform.addresses[self.exchange]["control_url"]
        self._wait_for_a_close()
        self.judged = self.platform.market_now(self.exchange)
        """From here on every close is judged: a series begins with its first one."""
        self.start = Timeframe.M15.open_of(self.judged)
        self.target = 0

    def _wait_for_a_close(self) -> None:
        """A series' first live close is the first it judges: the shortest have one before the storm."""
        now, step = self.platform.market_now(self.exchange), self._shortest.ms
        flows = now - now % step + 2 * step
        assert _comes(lambda: self.platform.settled(self.exchange) >= flows, CALM_S), "nothing flows"

    @property
    def _shortest(self) -> Timeframe:
        return min(self.stage.timeframes(), key=lambda timeframe: timeframe.ms)

    def blow(self) -> None:
        """The storm from its beginning to its end."""
        order = {"seed": self.told.seed, "duration_s": STORM_S}
        reply = httpx.post(f"{self.door}/storm", json=order, timeout=30)
        assert reply.status_code == 200, reply.text
        time.sleep(STORM_S)

    def settle(self) -> None:
        self.target = self._shortest.open_of(self.platform.market_now(self.exchange))
        begun = time.monotonic()

        def settled() -> bool:
            return self.platform.settled(self.exchange) >= self.target

        open_since = begun
        while not settled() and (now := time.monotonic()) < min(
            open_since + CALM_S, begun + PENANCE_S + CALM_S
        ):
            if self.stage.is_closed():
                open_since = now
            time.sleep(0.2)
        if not settled():
            late = self.target - self.platform.settled(self.exchange)
            self._trouble(f"not settled within {CALM_S:.0f} s: {late} ms of market time behind")
        self.told.settled_s = round(time.monotonic() - open_since, 1)
        self.told.closed_s = round(open_since - begun, 1)

    def judge(self) -> None:
        told, stage = self.told, self.stage
        _comes(lambda: not stage.wrong(self.start, self.target), 5.0)
        told.before_audit = self._wrong()
        told.audited = asyncio.run(self._audit())
        if not _comes(lambda: not stage.wrong(self.start, self.target), SETTLE_S):
            told.troubles += self._wrong()
        if not _comes(lambda: not self._alerts(), SETTLE_S):
            for line in self._alerts()[:SHOWN]:
                _, symbol, timeframe = line.split(":")[0].split()
                self._trouble(f"{line}; {self.chronicle.revisions(symbol, timeframe)}")
        self._count()

    async def _audit(self) -> int:
        """As the platform does every hour; how much of what was stored it changed."""
        before = self.platform.counters(self.exchange).get("audit_differences", 0)
        async with open_context(self.exchange, self.platform) as ctx:
            for timeframe in ctx.row.live_timeframes:
                end = timeframe.open_of(self.target) + timeframe.ms
                cell = Cell(ctx, timeframe, self.platform.symbols(self.exchange), end, by_hand=True)
                await matches_exchange(cell, self.start - timeframe.ms)
        return self.platform.counters(self.exchange).get("audit_differences", 0) - before

    def _wrong(self) -> list[str]:
        found = []
        for difference in self.stage.wrong(self.start, self.target)[:SHOWN]:
            line = str(difference)
            _, symbol, timeframe, at = line.split(":")[0].split()
            found.append(f"{line} [{self.chronicle.of(symbol, timeframe, int(at))}]")
        return found

    def _alerts(self) -> list[str]:
        symbols, truth = self.platform.symbols(self.exchange), Truth({self.exchange: self.door})
        return alert_differences(self.place, truth, self.exchange, symbols, self.judged, self.target)

    def _count(self) -> None:
        told = self.told
        faults = self.platform.ask(self.exchange, "faults")
        struck: Counter[str] = Counter()
        for fault in faults:
            struck[fault["kind"]] += fault["done"]
        told.struck = dict(sorted(struck.items()))
        told.refused = self.stage.given()
        ordered = sum(1 for one in faults if one["kind"] in ("rate_limit", "ban") and one["done"])
        refusals = int(self.platform.ask(self.exchange, "counters").get("refusals", 0))
        told.refused_again = max(0, refusals - ordered)
        if told.refused_again:
            self._trouble(f"{refusals} refusals for their rate, of which {ordered} were ordered")
        told.revised = self.platform.counters(self.exchange).get("revised", 0)
        query = "SELECT count(*) FROM alert_history WHERE withdrawn_ms IS NULL"
        told.alerts = int(self.place.query(query)[0][0])

    def _trouble(self, text: str) -> None:
        self.told.troubles.append(text)


def _comes(holds: object, seconds: float) -> bool:
    """Whether that comes to hold within so long."""
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
