"""A model exchange, its faulty transport and the cache's write rule, for the closer's properties; frames and
closers of its single bucket grid, for its rules."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from livermore_dagster.market.candle import Candle, Rank, StampedCandle
from livermore_dagster.market.closing import Closer, Effects, Question
from livermore_dagster.market.closing_rest import SETTLE_MS
from livermore_dagster.market.timeframe import Timeframe

TF = Timeframe.M1
STEP = TF.ms
START = 1_760_000_040_000 // STEP * STEP
GRACE = 1_500
WS = "ws-1"


@dataclass(frozen=True)
class Frame:
    symbol: str
    timeframe: Timeframe
    candle: Candle
    event_ms: int
    snapshot: bool = False
    closed: bool | None = None
    trades: int = -1


@dataclass(frozen=True)
class Row:
    candle: Candle
    trades: int = -1


def bar(bucket: int, close: str = "10", volume: str = "1") -> Candle:
    return Candle(START + bucket * STEP, "10", "12", "9", close, volume)


def frame(
    symbol: str,
    bucket: int,
    after_ms: int,
    *,
    close: str = "10",
    volume: str = "1",
    closed: bool | None = None,
    snapshot: bool = False,
) -> Frame:
    """A frame of bucket number `bucket`, sent `after_ms` after START."""
    return Frame(symbol, TF, bar(bucket, close, volume), START + after_ms, snapshot, closed)


def finals(effects: Effects) -> list[StampedCandle]:
    return [write for write in effects.writes if write.rank > Rank.OPEN]


def closer_of(symbols: Sequence[str] = ("A",), *, flagged: bool = False) -> Closer:
    closer = Closer(symbols, (TF,), flagged=flagged, grace_ms=GRACE)
    closer.on_clock(START)
    return closer


@dataclass(frozen=True)
class Outage:
    """Frames sent in [from_ms, to_ms) are lost; the break is noticed at once, or at its end (a stall)."""

    from_ms: int
    to_ms: int
    noticed_at_once: bool


@dataclass(frozen=True)
class Scenario:
    flagged: bool
    fills: bool
    trades: dict[str, dict[int, tuple[int, ...]]]
    """symbol -> bucket number -> offsets (ms) of its trades."""
    buckets: int
    outages: tuple[Outage, ...]
    duplicates: frozenset[int]
    swaps: frozenset[int]
    """Numbers of frames that come after their successor on the same connection."""
    snapshots: bool
    flag_delay_ms: int
    rest_delay_ms: int


@st.composite
def scenarios(draw: st.DrawFn, *, reorder: bool = True) -> Scenario:
    buckets = draw(st.integers(2, 7))
    offsets = st.lists(st.integers(0, STEP - 1), max_size=4, unique=True).map(lambda o: tuple(sorted(o)))
    trades = {
        symbol: {number: draw(offsets) for number in range(buckets)}
        for symbol in ("A", "B", "C", "D")[: draw(st.integers(1, 4))]
    }
    outages, at = [], 0
    spans = st.tuples(st.integers(1, 150_000), st.integers(1, 200_000))
    for gap, length in draw(st.lists(spans, max_size=2)):
        outages.append(Outage(START + at + gap, START + at + gap + length, draw(st.booleans())))
        at += gap + length
    numbers = st.frozensets(st.integers(0, 60), max_size=6)
    return Scenario(
        flagged=draw(st.booleans()),
        fills=draw(st.booleans()),
        trades=trades,
        buckets=buckets,
        outages=tuple(outages),
        duplicates=draw(numbers),
        swaps=draw(numbers) if reorder else frozenset(),
        snapshots=draw(st.booleans()),
        flag_delay_ms=draw(st.integers(1, 2_000)),
        rest_delay_ms=draw(st.integers(0, 12_000)),
    )


class Exchange:
    """What really happened: candles from trades, as of any time."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    def candle(self, symbol: str, number: int, as_of: int) -> Candle | None:
        """The bucket as it stood at `as_of` (exclusive of later trades); None while it has no row."""
        open_ms = START + number * STEP
        done = [o for o in self.scenario.trades[symbol].get(number, ()) if open_ms + o <= as_of]
        if not done:
            if not self.scenario.fills or as_of < open_ms:
                return None
            return Candle(open_ms, "100", "100", "100", "100", "0")
        prices = [100 + (open_ms // STEP + o) % 17 for o in done]
        return Candle(
            open_ms, str(prices[0]), str(max(prices)), str(min(prices)), str(prices[-1]), str(len(done))
        )

    def truth(self, symbol: str) -> dict[int, Candle]:
        rows = (self.candle(symbol, number, 1 << 60) for number in range(self.scenario.buckets))
        return {row.open_ms: row for row in rows if row is not None}

    def rest(self, symbol: str, from_ms: int, to_ms: int, asked_ms: int) -> list[Row]:
        found = []
        for number in range(self.scenario.buckets + 2):
            row = self.candle(symbol, number, asked_ms)
            if row is not None and from_ms <= row.open_ms < to_ms + STEP and row.open_ms <= asked_ms:
                found.append(Row(row))
        return found

    def frames(self) -> list[Frame]:
        """Everything sent, in the order of sending."""
        sent = []
        for symbol, buckets in self.scenario.trades.items():
            for number in range(self.scenario.buckets):
                open_ms = START + number * STEP
                for offset in buckets.get(number, ()):
                    at = open_ms + offset
                    row = self.candle(symbol, number, at)
                    assert row is not None
                    sent.append(Frame(symbol, TF, row, at, closed=False if self.scenario.flagged else None))
                row = self.candle(symbol, number, 1 << 60)
                if self.scenario.flagged and row is not None:
                    sent.append(
                        Frame(symbol, TF, row, open_ms + STEP + self.scenario.flag_delay_ms, closed=True)
                    )
        return sorted(sent, key=lambda one: one.event_ms)


@dataclass
class ModelCache:
    """The write rule, and every close it raised."""

    rows: dict[tuple[str, int], StampedCandle] = field(default_factory=dict)
    closes: list[StampedCandle] = field(default_factory=list)

    def write(self, new: StampedCandle) -> None:
        key = new.symbol, new.candle.open_ms
        old = self.rows.get(key)
        if old is not None and (new.rank, new.stamp_ms) < (old.rank, old.stamp_ms):
            return
        was_final = old is not None and old.rank > Rank.OPEN
        changed = old is None or old.candle != new.candle
        self.rows[key] = new
        if new.rank > Rank.OPEN and (not was_final or changed):
            self.closes.append(new)

    def finals(self, symbol: str) -> dict[int, Candle]:
        return {o: row.candle for (s, o), row in self.rows.items() if s == symbol and row.rank > Rank.OPEN}


def transport(scenario: Scenario) -> Iterator[tuple[int, str, list[Frame]]]:
    """(time, 'frames' | 'break' | 'tick', frames) as the service sees them."""
    exchange = Exchange(scenario)
    frames = exchange.frames()
    for number in sorted(scenario.swaps):
        if number + 1 < len(frames):
            frames[number], frames[number + 1] = frames[number + 1], frames[number]
    items: list[tuple[int, int, str, list[Frame]]] = []
    at = START
    for number, frame in enumerate(frames):
        at = max(at, frame.event_ms)
        if any(o.from_ms <= at < o.to_ms for o in scenario.outages):
            continue
        items.append((at, len(items), "frames", [frame]))
        if number in scenario.duplicates:
            # A copy comes again a little later, unless the line is down by then.
            later = at + 700
            if not any(o.from_ms <= t < o.to_ms for o in scenario.outages for t in (at, later)) and not any(
                at < o.from_ms <= later for o in scenario.outages
            ):
                items.append((later, len(items), "frames", [frame]))
    for outage in scenario.outages:
        items.append((outage.from_ms if outage.noticed_at_once else outage.to_ms, -1, "break", []))
        if scenario.snapshots and not scenario.flagged:
            items.append((outage.to_ms, 0, "frames", _snapshot(exchange, outage.to_ms)))
    end = START + (scenario.buckets + 2) * STEP
    items.extend((tick, 1_000, "tick", []) for tick in range(START, end, 1_000))
    for at, _, kind, sent in sorted(items, key=lambda one: one[:2]):
        yield at, kind, sent


def _snapshot(exchange: Exchange, at: int) -> list[Frame]:
    rows = []
    for symbol in exchange.scenario.trades:
        for number in range(exchange.scenario.buckets):
            row = exchange.candle(symbol, number, at - 1)
            if row is not None and row.open_ms <= at:
                rows.append(Frame(symbol, TF, row, at, snapshot=True))
    return rows[::-1]


@dataclass
class Run:
    cache: ModelCache
    closer: Closer
    questions: list[Question]
    effects: list[tuple[int, Effects]]


def play(scenario: Scenario) -> Run:
    exchange = Exchange(scenario)
    closer = Closer(tuple(scenario.trades), (TF,), flagged=scenario.flagged, grace_ms=GRACE)
    run = Run(ModelCache(), closer, [], [])
    pending: list[tuple[int, int, Question]] = []
    order = itertools.count()

    def take(at: int, effects: Effects) -> None:
        run.effects.append((at, effects))
        for write in effects.writes:
            run.cache.write(write)
        for question in effects.questions:
            run.questions.append(question)
            heapq.heappush(pending, (at + scenario.rest_delay_ms, next(order), question))

    def answer(until: int) -> None:
        while pending and pending[0][0] <= until:
            at, _, question = heapq.heappop(pending)
            rows = exchange.rest(question.symbol, question.from_ms, question.to_ms, at)
            take(at, closer.on_rest(question.symbol, TF, question.from_ms, question.to_ms, rows, at))
            for left in closer.open_questions():
                # Retries, as repair does them: later the reply proves more.
                if left.symbol == question.symbol and left.from_ms < question.to_ms:
                    run_at = max(at + 3_000, left.to_ms + SETTLE_MS)
                    heapq.heappush(pending, (run_at, next(order), left))

    take(START, closer.on_clock(START))
    for at, kind, frames in transport(scenario):
        answer(at)
        if kind == "break":
            take(at, closer.on_break("ws-1", "test"))
        elif frames:
            take(at, closer.on_frames(frames, "ws-1"))
        take(at, closer.on_clock(at))
    end = START + (scenario.buckets + 2) * STEP
    for later in range(end, end + 60_000, 1_000):
        answer(later)
        take(later, closer.on_clock(later))
    return run
