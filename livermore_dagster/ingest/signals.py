"""Turns closes into MACD-V and alerts: group 'signals', in stream order per series, within milliseconds.

(1) fold, insert alerts and points in one PostgreSQL transaction (a repetition changes nothing); (2) one Lua
call: indicators, states, acknowledgement. A crash between repeats (1) harmlessly. No REST call is ever made
here (P6): a bar that is neither in the cache nor in the ledger of asked ranges is waited for, up to
`patience_s`, while other series go on. A series that cannot be computed holds no other up (series_troubles).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import psycopg
import redis.asyncio
import structlog
from redis.exceptions import RedisError

from livermore_dagster.clock import Clock, SystemClock
from livermore_dagster.errors import ClaimLost
from livermore_dagster.ingest.outbox import Outbox
from livermore_dagster.ingest.series_fold import SeriesFold
from livermore_dagster.ingest.series_rejudge import Known, take_with_cache
from livermore_dagster.ingest.series_troubles import FOLD_ERRORS, SeriesTroubles
from livermore_dagster.ingest.signals_effects import SignalsEffects
from livermore_dagster.ingest.signals_round import Round, in_parts
from livermore_dagster.ingest.unknown_bars import AwaitedBars, unknown_bars
from livermore_dagster.ingest.waiting import SIGNALS, Waiting
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.alerts import read_standing
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.postgres.series import first_opens
from livermore_dagster.stores.redis import keys, metrics
from livermore_dagster.stores.redis.candle_cache import CandleCache
from livermore_dagster.stores.redis.closes import Close, ClosesReader
from livermore_dagster.stores.redis.indicator_cache import IndicatorCache, SeriesKey

__all__ = ["SignalsConsumer"]

_log = structlog.get_logger(__name__)

_ROUND_MS: Final = 100
"""While there is work that no close tells of, a round begins this often."""
_ASK_HISTORY_S: Final = 2.0


class SignalsConsumer:
    """One per exchange. Its memory is a copy of what is durable; after any failure it is read anew."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        pool: Pool,
        row: ExchangeRow,
        clock: Clock | None = None,
        *,
        outbox: Outbox | None = None,
        batch: int = 1_000,
        block_ms: int = 500,
        patience_s: float = 10.0,
        warm: asyncio.Event | None = None,
        token: str = "",
        timeframes: Collection[Timeframe] | None = None,
    ) -> None:
        """`outbox`: woken at once with what is stored. `patience_s`: real time to wait for an unknown bar,
        from when `warm` is set: until then the warm-up is on its way. `token`: of the claim worked under:
        once that is another's, this ends. `timeframes`: those computed."""
        self._redis = client
        self._pool = pool
        self._row = row
        self._clock = clock or SystemClock()
        self._batch, self._block_ms = batch, block_ms
        self._timeframes = frozenset(Timeframe if timeframes is None else timeframes)
        self._reader = ClosesReader(client, row.id, keys.CLOSES_GROUP_SIGNALS)
        self._candles = CandleCache(client, row.id, exchange_name=row.name)
        self._indicators = IndicatorCache(client, row.id, token)
        self._effects = SignalsEffects(client, pool, row, self._indicators, outbox)
        self._awaited = AwaitedBars(self._clock, patience_s, warm)
        self._troubles = SeriesTroubles(client, row.id, self._clock)
        self._waiting = Waiting(client, row.id, SIGNALS)
        self._forget()

    def _forget(self) -> None:
        self._folds: dict[SeriesKey, SeriesFold] = {}
        self._queues: dict[SeriesKey, deque[Close]] = {}
        self._asked_history: dict[SeriesKey, float] = {}
        self._seeding: set[SeriesKey] = set()
        self._unreadable: set[SeriesKey] = set()
        self._awaited.clear()
        self._recovering = False

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set. What is unfinished stays unacknowledged for the next start."""
        while not stop.is_set():
            try:
                await self._reader.ensure_group()
                await self._work(stop)
            except (RedisError, psycopg.Error, OSError) as error:
                await self._waiting.after(error, stop)
            except ClaimLost as lost:
                _log.warning("signals_end", exchange=self._row.name, reason=str(lost))
                return

    async def _work(self, stop: asyncio.Event) -> None:
        self._forget()
        after, self._recovering = "0", True
        while not stop.is_set():
            closes = await self._reader.pending(self._batch, after)
            if not closes:
                break
            after = closes[-1].entry_id
            await self._process(closes)
        self._recovering = False
        while not stop.is_set():
            open_work = self._awaited or self._troubles.again
            closes = await self._reader.fresh(self._batch, _ROUND_MS if open_work else self._block_ms)
            if closes or open_work:
                await self._process(closes)
            await self._waiting.over()

    # --- folding ------------------------------------------------------------------------------------------
    async def _process(self, closes: Sequence[Close]) -> None:
        # Also those of which no close has come.
        active = self._awaited.due() | {key for key in self._troubles.again if self._queues.get(key)}
        self._troubles.again.clear()
        for close in closes:
            key = (close.symbol, close.timeframe)
            queue = self._queues.setdefault(key, deque())
            queue.append(close)
            # What comes after the close that waits is not what that waits for.
            head_ms = queue[0].candle.open_ms
            if key not in self._awaited or close.origin.is_history or close.candle.open_ms < head_ms:
                active.add(key)
        await self._load(active)
        await self._learn_history(active)
        work = Round()
        while active:
            # Each time: what was seeded just now may have closes behind its history already.
            await self._learn_news(active)
            heads = {key: head for key in active if (head := self._advance(key, work)) is not None}
            active = set()
            for some in in_parts(heads):
                active |= await self._with_cache(some, work)
        await self._effects.keep(work, self._folds, self._put_back)
        for key in work.outcomes:
            self._troubles.folded(key)
        await self._troubles.tell()

    async def _load(self, series: Iterable[SeriesKey]) -> None:
        new = [key for key in series if key not in self._folds]
        texts = await self._indicators.states(new)
        for key in new:
            self._folds[key] = self._fold_of(key, texts.get(key))
            if self._troubles.must_seed(key):
                self._seeding.add(key)
        if self._recovering:
            for key, standing in (await self._standing(new)).items():
                self._folds[key].learn_stored(standing)

    def _fold_of(self, key: SeriesKey, text: str | None) -> SeriesFold:
        try:
            return SeriesFold.from_json(*key, text) if text else SeriesFold(*key)
        except FOLD_ERRORS as error:
            # It is seeded anew from the cache, and judged from the next live close on.
            _log.error("state_unreadable", symbol=key[0], timeframe=key[1].value, exc_info=error)
            self._unreadable.add(key)
            return SeriesFold(*key)

    async def _learn_news(self, series: Iterable[SeriesKey]) -> None:
        """From when on closes of series are news of which nothing was judged so far."""
        new = [key for key in series if self._folds[key].watermark is None and key not in self._unreadable]
        for key, from_ms in (await self._indicators.news_from(new)).items():
            fold, queue = self._folds[key], self._queues[key]
            # A history that is still to come is folded first, and not judged.
            if fold.kept or (queue and queue[0].candle.open_ms >= key[1].open_of(from_ms)):
                fold.news_from(from_ms)

    async def _learn_history(self, series: Iterable[SeriesKey]) -> None:
        """Where warming series begin at the exchange, unless that is known or was asked just now."""
        now = self._clock.monotonic()
        wanted: dict[Timeframe, list[str]] = {}
        for key in series:
            fold = self._folds[key]
            asked = self._asked_history.get(key)
            due = asked is None or now - asked > _ASK_HISTORY_S
            if due and fold.warming and fold.history_start is None:
                self._asked_history[key] = now
                wanted.setdefault(key[1], []).append(key[0])
        if not wanted:
            return
        async with self._pool.connection() as connection:
            for timeframe, symbols in wanted.items():
                known = await first_opens(connection, self._row.id, symbols, timeframe)
                for symbol, first in known.items():
                    self._folds[symbol, timeframe].history_start = first

    def _advance(self, key: SeriesKey, work: Round) -> Close | None:
        """Takes what needs nothing but the state; the close at which more is needed, if any."""
        if key[1] not in self._timeframes or self._troubles.is_aside(key):
            while self._queues[key]:
                self._finish(key, work)
            return None
        try:
            return self._go_on(key, work)
        except FOLD_ERRORS as error:
            self._put_back(key, work, error)
            return None

    def _put_back(self, key: SeriesKey, work: Round, error: Exception) -> None:
        """A series that cannot be computed leaves this round; the next one begins with its durable state."""
        queue = self._queues[key]
        entry_id = queue[0].entry_id if queue else ""
        queue.extendleft(reversed(work.drop(key)))
        for known in (self._folds, self._asked_history):
            known.pop(key, None)
        self._seeding.discard(key)
        self._awaited.over(key)
        self._troubles.failed(key, entry_id or queue[-1].entry_id, error)

    def _go_on(self, key: SeriesKey, work: Round) -> Close | None:
        fold, queue = self._folds[key], self._queues[key]
        while queue:
            close = queue[0]
            open_ms = close.candle.open_ms
            work.now_ms[key] = max(work.now_ms.get(key, 0), close.proven_ms, close.end_ms)
            first = False
            if not close.origin.is_history:
                first = fold.first_contact(open_ms, close.stamp_ms)
                work.wall_ms[key, open_ms] = close.wall_ms
            newest = fold.newest_ms
            if newest is None or key in self._seeding:
                return close
            if open_ms <= newest:
                # The first live close may have been folded, unjudged, with the history it came behind.
                if first or not fold.includes(close.entry_id, open_ms):
                    return close
            elif fold.owed_from is not None or fold.bars_before(open_ms):
                return close
            else:
                fold.take(close.stamped(), work.now_ms[key], work.of(key))
            self._finish(key, work)
        return None

    def _finish(self, key: SeriesKey, work: Round) -> None:
        work.taken.setdefault(key, []).append(self._queues[key].popleft())
        self._awaited.over(key)

    async def _with_cache(self, heads: dict[SeriesKey, Close], work: Round) -> set[SeriesKey]:
        """Takes each series' head, all of one timeframe, with the cache's help; the series that got on."""
        # Read first: every close up to this entry is then in the cache as it is read.
        included = str((await self._redis.xinfo_stream(keys.closes(self._row.id)))["last-generated-id"])
        timeframe = next(iter(heads))[1]
        symbols = [symbol for symbol, _ in heads]
        found = await self._candles.read_many(symbols, timeframe, since_ms=self._since(heads))
        rows = {(symbol, timeframe): candles for symbol, candles in found.items()}
        unknown = await unknown_bars(self._pool, self._row.id, heads, self._folds, rows)
        standing = await self._standing(self._beyond(heads))
        moved: set[SeriesKey] = set()
        for key, close in heads.items():
            if unknown.get(key) and not self._awaited.in_vain(key):
                continue
            fold = self._folds[key]
            fold.unknown_bars += unknown.get(key, 0)
            try:
                outcome, now_ms = work.of(key), work.now_ms[key]
                if key in self._seeding:
                    fold.seed(rows[key], now_ms, outcome)
                    self._seeding.discard(key)
                else:
                    take_with_cache(fold, close, rows[key], standing.get(key), now_ms, outcome)
            except FOLD_ERRORS as error:
                self._put_back(key, work, error)
                continue
            fold.included = included
            self._finish(key, work)
            moved.add(key)
        if lost := sum(unknown.get(key, 0) for key in moved):
            await metrics.count(self._redis, self._row.id, "unknown_bars", lost)
            _log.warning("unknown_bars", exchange=self._row.name, bars=lost)
        return moved

    def _since(self, heads: dict[SeriesKey, Close]) -> dict[str, int]:
        """From where on rows are needed of the series that only go on; of the others all are."""
        since: dict[str, int] = {}
        for key, close in heads.items():
            fold, open_ms = self._folds[key], close.candle.open_ms
            newest = fold.newest_ms
            if newest is not None and key not in self._seeding and fold.again_from(open_ms) is None:
                since[key[0]] = newest
        return since

    def _beyond(self, heads: dict[SeriesKey, Close]) -> list[SeriesKey]:
        """Series that are to be judged again from further back than their kept states."""
        again = {key: self._folds[key].again_from(close.candle.open_ms) for key, close in heads.items()}
        return [key for key, at in again.items() if at is not None and self._folds[key].is_beyond(at)]

    async def _standing(self, series: Sequence[SeriesKey]) -> dict[SeriesKey, list[Known]]:
        if not series:
            return {}
        async with self._pool.connection() as connection:
            return {key: await read_standing(connection, self._row.id, *key) for key in series}
