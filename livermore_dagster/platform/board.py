"""All monitored symbols × timeframes as they stand now, for screens: what the board and near-alerts show."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from redis.asyncio import Redis

from livermore_dagster.control.status import decode_status, living_status
from livermore_dagster.ingest.series_fold import SeriesFold
from livermore_dagster.market.board import cells_of, is_stale, leaning, outlook
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.nearness import Nearness, nearness_of
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.overview import (
    Overview,
    SeriesId,
    read_monitored,
    read_overview,
    read_states,
)

__all__ = ["FLOWING", "BoardRow", "NearAlert", "near_alerts", "read_board", "read_standing"]

FLOWING = "active"
"""The standing of an instance whose values are of now."""


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One symbol. `cells`: by timeframe, see market.board. Ages in ms of market time."""

    exchange: str
    symbol: str
    rank: int
    """From 1, in the exchange's list of monitored symbols."""
    price: str | None
    price_source: str | None
    """'ticker' or 'candle_close'."""
    price_age_ms: int | None
    age_ms: int | None
    """Since the end of the newest candle that has an indicator, of any timeframe."""
    cells: Mapping[str, Mapping[str, Any]]
    bias: str
    portfolio: str
    portfolio_reason: str
    instance: str = FLOWING
    """What its exchange's instance does: see `read_standing`."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class NearAlert:
    """A series close to a level."""

    exchange: str
    symbol: str
    timeframe: Timeframe
    value: float
    stage: str
    warming: bool
    near: Nearness
    price: str | None
    age_ms: int
    """Since the end of the candle the value is of."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "exchange": self.exchange, "symbol": self.symbol, "timeframe": self.timeframe.value,
            "value": self.value, "level": self.near.level, "direction": self.near.direction,
            "distance": self.near.distance, "speed_per_bar": self.near.speed, "bars": self.near.bars,
            "stage": self.stage, "warming": self.warming, "price": self.price, "age_ms": self.age_ms,
        }  # fmt: skip


async def read_standing(redis: Redis, rows: Sequence[ExchangeRow]) -> dict[int, str]:
    """By exchange id: FLOWING, 'paused', 'starting', 'warming', 'stopping', 'idle' or 'offline'."""
    texts = await redis.mget([name(row.id) for row in rows for name in (keys.status, keys.last_status)])
    found = {}
    for row, text, last in zip(rows, texts[::2], texts[1::2], strict=True):
        status = living_status(text)
        if status is None:
            lost = decode_status(last).left_without_a_word if last else False
            found[row.id] = "offline" if lost else "idle"
        else:
            paused = status.paused and status.running
            found[row.id] = "paused" if paused else status.connection_state.value
    return found


async def read_board(
    redis: Redis,
    rows: Sequence[ExchangeRow],
    now_ms: int,
    *,
    symbols: Mapping[int, Sequence[str]] | None = None,
    computed: Mapping[int, Collection[Timeframe]] | None = None,
) -> list[BoardRow]:
    """Every monitored symbol of `rows`, or `symbols` by exchange id, in rank order. `now_ms`: market time.

    `computed`, by exchange id: the timeframes of which indicators are computed; all where it is not said.
    """
    monitored = await read_monitored(redis, rows)
    wanted = {row.id: (symbols or monitored).get(row.id, ()) for row in rows}
    found = await _overview(redis, rows, wanted)
    standing = await read_standing(redis, rows)
    board = []
    for row in rows:
        wished = tuple(Timeframe) if computed is None else computed[row.id]
        ranks = {symbol: rank for rank, symbol in enumerate(monitored[row.id], 1)}
        for symbol in wanted[row.id]:
            rank = ranks.get(symbol, len(ranks) + 1)
            board.append(_row(row, symbol, rank, found, now_ms, wished, standing[row.id]))
    return board


async def near_alerts(
    redis: Redis,
    rows: Sequence[ExchangeRow],
    now_ms: int,
    *,
    timeframes: Sequence[Timeframe] | None = None,
    within: float | None = None,
    limit: int = 20,
) -> list[NearAlert]:
    """Series with a fresh value, the closest to a level first. `within`: MACD-V points at most.

    `rows`: exchanges whose instance is FLOWING; how the others stand now nobody knows.
    """
    monitored = await read_monitored(redis, rows)
    found = await _overview(redis, rows, monitored, timeframes)
    names = {row.id: row for row in rows}
    close: list[tuple[float, SeriesId]] = []
    for key, facts in found.indicators.items():
        value, age_ms = facts["value"], now_ms - facts["end_ms"]
        if value is None or is_stale(key.timeframe, age_ms):
            continue
        distance = nearness_of(value, None).distance
        if within is None or distance <= within:
            close.append((distance, key))
    chosen = [key for _, key in sorted(close, key=lambda one: (one[0], one[1]))[:limit]]
    states = await read_states(redis, chosen)
    result = []
    for key in chosen:
        facts = found.indicators[key]
        fold = SeriesFold.from_json(key.symbol, key.timeframe, states[key]) if key in states else None
        before = fold.before_newest if fold is not None else None
        near = nearness_of(facts["value"], *before) if before else nearness_of(facts["value"], None)
        ticker = found.tickers.get((key.exchange_id, key.symbol))
        result.append(
            NearAlert(
                names[key.exchange_id].name, key.symbol, key.timeframe, facts["value"], facts["stage"],
                facts["warming"], near, ticker.price if ticker else facts["close"],
                max(0, now_ms - facts["end_ms"]),
            )
        )  # fmt: skip
    return result


async def _overview(
    redis: Redis,
    rows: Sequence[ExchangeRow],
    symbols: Mapping[int, Sequence[str]],
    timeframes: Sequence[Timeframe] | None = None,
) -> Overview:
    series = [
        SeriesId(row.id, symbol, timeframe)
        for row in rows
        for symbol in symbols[row.id]
        for timeframe in row.live_timeframes
        if timeframes is None or timeframe in timeframes
    ]
    return await read_overview(
        redis, series, [(row.id, symbol) for row in rows for symbol in symbols[row.id]]
    )


def _row(
    row: ExchangeRow,
    symbol: str,
    rank: int,
    found: Overview,
    now_ms: int,
    computed: Collection[Timeframe],
    instance: str,
) -> BoardRow:
    known = {
        timeframe: facts
        for timeframe in row.live_timeframes
        if (facts := found.indicators.get(SeriesId(row.id, symbol, timeframe))) is not None
    }
    cells = cells_of(row, known, now_ms, computed)
    signal = outlook(cells)
    ticker = found.tickers.get((row.id, symbol))
    newest = max(known.values(), key=lambda facts: int(facts["end_ms"]), default=None)
    price, source, at_ms = None, None, None
    if ticker is not None:
        price, source, at_ms = ticker.price, "ticker", ticker.ts
    elif newest is not None:
        price, source, at_ms = newest["close"], "candle_close", newest["end_ms"]
    return BoardRow(
        exchange=row.name,
        symbol=symbol,
        rank=rank,
        price=price,
        price_source=source,
        price_age_ms=None if at_ms is None else max(0, now_ms - at_ms),
        age_ms=None if newest is None else max(0, now_ms - newest["end_ms"]),
        cells=cells,
        bias=leaning(cells).value,
        portfolio=signal.label.value,
        portfolio_reason=signal.reason,
        instance=instance,
    )
