"""Checks of `candles/<timeframe>`: no gaps beyond the ledger, sound values, fresh, equal to the
exchange's."""

from __future__ import annotations

import dagster as dg

from assets.cells import Cell, Row, table, utc
from assets.checks import Verdict, build_checks
from assets.series_sync import find_gaps, settled_until, sync_from_cache
from livermore_dagster.exchanges.contract import Priority, RestCandle
from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import TIMEFRAMES, Timeframe
from livermore_dagster.stores.postgres.soundness import judge_candles
from livermore_dagster.stores.redis.metrics import count, incident

__all__ = ["candle_checks", "fresh", "matches_exchange", "no_gaps", "sane"]

CHECKED_BARS = 300


async def no_gaps(cell: Cell) -> Verdict:
    gaps = await find_gaps(cell, cell.symbols, CHECKED_BARS)
    rows: list[Row] = [
        {
            "symbol": symbol,
            "from (UTC)": utc(span.from_ms),
            "to (UTC)": utc(span.to_ms),
            "bars": (span.to_ms - span.from_ms) // cell.timeframe.ms,
        }
        for symbol, spans in gaps.items()
        for span in spans
    ]
    return not rows, {
        "symbols judged": len(cell.symbols),
        "bars judged per symbol": CHECKED_BARS,
        "bars missing": sum(
            (one.to_ms - one.from_ms) // cell.timeframe.ms for spans in gaps.values() for one in spans
        ),
        "gaps": table(rows[:50]),
    }


async def sane(cell: Cell) -> Verdict:
    from_ms = cell.newest_open_ms - CHECKED_BARS * cell.timeframe.ms
    async with cell.ctx.pool.connection() as connection:
        found = await judge_candles(connection, cell.ctx.row.id, cell.symbols, cell.timeframe, from_ms)
    rows: list[Row] = [
        {
            "symbol": one.symbol,
            "open (UTC)": utc(one.open_ms),
            "open": one.open,
            "high": one.high,
            "low": one.low,
            "close": one.close,
            "volume": one.volume,
        }
        for one in found.unsound
    ]
    return not rows, {
        "candles judged": found.judged,
        "off the UTC grid (kept as given)": found.off_grid,
        "unsound candles": len(rows),
        "first 50": table(rows),
    }


async def fresh(cell: Cell) -> Verdict:
    """Some symbol always trades: the newest candle of all is the due one, or the bar before while it is
    proven."""
    newest = await cell.ctx.table.newest(cell.ctx.row.id, cell.symbols, cell.timeframe)
    step = cell.timeframe.ms
    due_ms = cell.timeframe.open_of(await settled_until(cell)) - step
    behind = {symbol: max(0, due_ms - newest[symbol]) // step for symbol in cell.symbols if symbol in newest}
    least = min(behind.values(), default=None)
    silent = {symbol: bars for symbol, bars in behind.items() if bars > 0}
    rows: list[Row] = [
        {"symbol": symbol, "newest (UTC)": utc(newest[symbol]), "bars behind": bars}
        for symbol, bars in sorted(silent.items(), key=lambda item: -item[1])
    ]
    return least is not None and least <= 1, {
        "newest candle due (UTC)": utc(due_ms),
        "bars the freshest symbol is behind": least if least is not None else "no candles",
        "symbols up to date": len(behind) - len(silent),
        "symbols without that candle": len(silent),
        "symbols without any": len(cell.symbols) - len(behind),
        "behind": table(rows[:50]),
    }


async def matches_exchange(cell: Cell) -> Verdict:
    """Compare the last settled hour (or bar) with REST, under the budget; repair what differs."""
    end_ms = cell.newest_open_ms
    start_ms = cell.timeframe.open_of(end_ms - max(Timeframe.H1.ms, cell.timeframe.ms))
    # What the store writer has not come to yet is late, and no difference from the exchange.
    await sync_from_cache(cell, (end_ms - start_ms) // cell.timeframe.ms + 1)
    rows: list[Row] = []
    wrong: list[StampedCandle] = []
    compared = 0
    for symbol in cell.symbols:
        given = await cell.ctx.client.candles(symbol, cell.timeframe, start_ms, end_ms, Priority.BROWSE)
        asked_ms = await cell.ctx.exchange_now(Priority.BROWSE)
        stored = await cell.ctx.table.read(cell.ctx.row.id, symbol, cell.timeframe, start_ms, end_ms)
        held = {one.candle.open_ms: one.candle for one in stored}
        known = {row.candle.open_ms for row in given}
        rows += [
            {
                "symbol": symbol,
                "open (UTC)": utc(at),
                "field": "candle",
                "stored": ours.close,
                "exchange": "absent",
            }
            for at, ours in held.items()
            if at not in known
        ]
        for row in given:
            compared += 1
            ours = held.get(row.candle.open_ms)
            if ours != row.candle:
                rows.append(
                    {"symbol": symbol, "open (UTC)": utc(row.candle.open_ms), **_difference(ours, row)}
                )
                wrong.append(_settled(cell, symbol, row, asked_ms))
    if wrong:
        await cell.ctx.cache.write(wrong, cell.ctx.clock.now_ms())
        await cell.ctx.table.upsert(cell.ctx.row.id, wrong)
        await count(cell.ctx.redis, cell.ctx.row.id, "audit_differences", len(wrong))
        text = (
            f"{len(wrong)} {cell.timeframe.value} candles differed from {cell.ctx.row.name}'s "
            f"and were repaired."
        )
        await incident(cell.ctx.redis, "audit", cell.ctx.row.id, text)
    return not rows, {
        "window (UTC)": f"{utc(start_ms)} to {utc(end_ms)}",
        "candles compared": compared,
        "differences, now repaired": len(wrong),
        "candles the exchange does not have": len(rows) - len(wrong),
        "requests used": len(cell.symbols),
        "first 50": table(rows[:50]),
    }


def _difference(ours: Candle | None, row: RestCandle) -> dict[str, str]:
    if ours is None:
        return {"field": "candle", "stored": "absent", "exchange": row.candle.close}
    for name in ("open", "high", "low", "close", "volume"):
        if getattr(ours, name) != getattr(row.candle, name):
            return {"field": name, "stored": getattr(ours, name), "exchange": getattr(row.candle, name)}
    return {"field": "", "stored": "", "exchange": ""}


def _settled(cell: Cell, symbol: str, row: RestCandle, asked_ms: int) -> StampedCandle:
    return StampedCandle(
        symbol, cell.timeframe, row.candle, Rank.SETTLED, asked_ms, Origin.REPAIR, row.trades, asked_ms
    )


def candle_checks() -> list[dg.AssetChecksDefinition]:
    """One op per timeframe."""
    return [
        build_checks(
            "candles",
            timeframe,
            {
                "no_gaps": (no_gaps, f"the last {CHECKED_BARS} bars are stored or proven absent by REST."),
                "sane": (sane, "low ≤ open, close ≤ high, prices above 0, volume not below 0."),
                "fresh": (fresh, "the newest candle due by the exchange's clock is stored."),
                "matches_exchange": (
                    matches_exchange,
                    "the last settled hour equals the exchange's REST candles; differences are repaired.",
                ),
            },
        )
        for timeframe in TIMEFRAMES
    ]
