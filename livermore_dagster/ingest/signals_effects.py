"""Makes what a round of closes led to durable: in PostgreSQL, then in Redis, which acknowledges them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import redis.asyncio

from livermore_dagster.ingest.alert_rows import alert_row, indicator_facts
from livermore_dagster.ingest.outbox import HandedOver, Outbox
from livermore_dagster.ingest.series_fold import SeriesFold
from livermore_dagster.ingest.series_troubles import FOLD_ERRORS
from livermore_dagster.ingest.signals_round import Round
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.alerts import (
    AlertKey,
    AlertRow,
    Withdrawal,
    insert_alerts,
    withdraw_alerts,
)
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.postgres.indicators import IndicatorRow, upsert_indicators
from livermore_dagster.stores.redis import metrics
from livermore_dagster.stores.redis.indicator_cache import IndicatorCache, SeriesKey, SeriesUpdate
from livermore_dagster.stores.redis.tickers import read_tickers

__all__ = ["SignalsEffects"]

_encode = msgspec.json.Encoder().encode

Facts = dict[SeriesKey, dict[str, Any]]
"""The indicator of each series, as it is kept and published."""
PutBack = Callable[[SeriesKey, Round, Exception], None]


class SignalsEffects:
    """`keep` may be cut off anywhere: repeated, it changes nothing of what was stored."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        pool: Pool,
        row: ExchangeRow,
        indicators: IndicatorCache,
        outbox: Outbox | None,
    ) -> None:
        self._redis = client
        self._pool = pool
        self._row = row
        self._indicators = indicators
        self._outbox = outbox

    async def keep(self, work: Round, folds: Mapping[SeriesKey, SeriesFold], put_back: PutBack) -> None:
        """`put_back` is told of each series whose facts or alerts cannot be made; the others are kept."""
        facts = self._facts(work, folds, put_back)
        alerts, walls = await self._alerts(work, facts, put_back)
        gone = [
            Withdrawal(*key, vanished.label, vanished.open_ms, work.now_ms[key])
            for key, outcome in work.outcomes.items()
            for vanished in outcome.vanished
        ]
        points = [
            IndicatorRow(*key, point) for key, outcome in work.outcomes.items() for point in outcome.points
        ]
        if points or alerts or gone:
            await self._store(points, alerts, gone, walls)
        updates = [
            SeriesUpdate(*key, _encode(facts[key]).decode() if key in facts else "", work.states[key])
            for key in work.outcomes
        ]
        done = [close.entry_id for taken in work.taken.values() for close in taken]
        if updates or done:
            await self._indicators.commit(updates, done)

    def _facts(self, work: Round, folds: Mapping[SeriesKey, SeriesFold], put_back: PutBack) -> Facts:
        facts: Facts = {}
        for key, outcome in list(work.outcomes.items()):
            fold = folds[key]
            try:
                if fold.point is not None and outcome.newest is not None:
                    facts[key] = indicator_facts(self._row, fold, fold.point, outcome.newest.candle.close)
                work.states[key] = fold.to_json()
            except FOLD_ERRORS as error:
                facts.pop(key, None)
                put_back(key, work, error)
        return facts

    async def _alerts(
        self, work: Round, facts: Facts, put_back: PutBack
    ) -> tuple[list[AlertRow], dict[AlertKey, int]]:
        """Rows to store, and when the close of each was appended (wall clock, not for late ones)."""
        found = {key: outcome.alerts for key, outcome in work.outcomes.items() if outcome.alerts}
        if not found:
            return [], {}
        symbols = list(dict.fromkeys(symbol for symbol, _ in found))
        wanted = [(symbol, timeframe) for symbol in symbols for timeframe in self._row.live_timeframes]
        tickers, known = await asyncio.gather(
            read_tickers(self._redis, self._row.id, symbols), self._indicators.read(wanted)
        )
        boards: dict[str, dict[Timeframe, dict[str, Any]]] = {}
        for (symbol, timeframe), values in (known | facts).items():
            boards.setdefault(symbol, {})[timeframe] = values
        rows: list[AlertRow] = []
        walls: dict[AlertKey, int] = {}
        for key, alerts in found.items():
            board, ticker, now_ms = boards.get(key[0], {}), tickers.get(key[0]), work.now_ms[key]
            try:
                made = [alert_row(self._row, alert, now_ms, ticker, board) for alert in alerts]
            except FOLD_ERRORS as error:
                facts.pop(key, None)
                put_back(key, work, error)
                continue
            rows += made
            for row in made:
                walls[row.key] = 0 if row.late else work.wall_ms.get((key, row.open_ms), 0)
        return rows, walls

    async def _store(
        self,
        points: list[IndicatorRow],
        alerts: list[AlertRow],
        gone: list[Withdrawal],
        walls: dict[AlertKey, int],
    ) -> None:
        lock = self._outbox.storing if self._outbox and alerts else contextlib.nullcontext()
        async with lock:
            async with self._pool.connection() as connection:
                new = await insert_alerts(connection, self._row.id, alerts)
                await withdraw_alerts(connection, self._row.id, gone)
                await upsert_indicators(connection, self._row.id, points)
            if self._outbox is not None and alerts:
                handed = [HandedOver(alert, walls[alert.key]) for alert in new]
                await self._outbox.deliver(handed, again=len(new) < len(alerts))
        if new:
            await metrics.count(self._redis, self._row.id, "alerts_stored", len(new))
