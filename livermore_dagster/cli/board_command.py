"""`livermore board`: every symbol × timeframe at a glance."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livermore_dagster.cli.store_session import Home, Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livermore_dagster.cli.lookup import Stores
    from livermore_dagster.market.exchange import ExchangeRow
    from livermore_dagster.market.timeframe import Timeframe
    from livermore_dagster.platform.board import BoardRow
    from livermore_dagster.platform.config import Settings

__all__ = ["Sort", "board"]

REFRESH_S = 2.0


class Sort(StrEnum):
    RANK = "rank"
    SYMBOL = "symbol"
    MACDV = "macdv"
    AGE = "age"
    BIAS = "bias"
    PORTFOLIO = "portfolio"


def board(
    exchanges: Annotated[
        list[str] | None, typer.Argument(help="Exchanges; default: all that monitor something.")
    ] = None,
    timeframes: Annotated[
        str | None,
        typer.Option("--timeframes", "--timeframe", "-t", help="A list such as 15m,1h,4h. Default: all."),
    ] = None,
    symbols: Annotated[
        str | None, typer.Option("--symbols", "-s", help="A number: the top so many. Or a list of symbols.")
    ] = None,
    sort: Annotated[
        Sort, typer.Option(help="macdv: by the longest timeframe shown, highest first; age: oldest first.")
    ] = Sort.RANK,
    stage: Annotated[
        str | None, typer.Option(help="Only symbols with a timeframe in this stage, such as oversold.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew until Ctrl-C.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show every monitored symbol: price, MACD-V and stage of each timeframe, bias, portfolio signal, age.

    Stages are colours and two letters: OS oversold, OB overbought, RA rallying, RB rebounding, RG ranging, RT
    retracing, RV reversing. A value in brackets is stale: two newer candles should have come.

    Example: livermore board binance --timeframes 1h,4h,1d --stage oversold
    """
    import asyncio

    from livermore_dagster.cli.arguments import some_timeframes
    from livermore_dagster.platform.attach import attach

    chosen = some_timeframes(timeframes, "--timeframes")
    wanted_stage = _stage(stage)
    settings = attach(home)
    work = _show(settings, exchanges or [], chosen, symbols, sort, wanted_stage, watch, as_json)
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        return


def _stage(text: str | None) -> str | None:
    from livermore_dagster.errors import BadSetting
    from livermore_dagster.market.stages import Stage

    known = [stage.value for stage in Stage]
    if text is not None and text not in known:
        raise BadSetting(f"--stage {text!r} is no stage.", f"Stages: {', '.join(known)}.")
    return text


async def _show(
    settings: Settings,
    exchanges: list[str],
    timeframes: tuple[Timeframe, ...] | None,
    symbols: str | None,
    sort: Sort,
    stage: str | None,
    watch: bool,
    as_json: bool,
) -> None:
    from livermore_dagster.cli.board_table import board_view, print_boards
    from livermore_dagster.cli.lookup import open_stores
    from livermore_dagster.platform.watch import MarketTime

    market_time = MarketTime.of(settings)
    async with open_stores(settings) as stores:
        rows = await _rows(stores, exchanges)
        narrowed = await _symbols(stores, rows, symbols)

        async def read() -> list[BoardRow]:
            return await _read(stores, rows, narrowed, market_time.now_ms(), timeframes, sort, stage)

        if as_json:
            await _print_json(read, timeframes, watch)
        elif watch:
            from livermore_dagster.cli.watching import watch_screen

            async def draw(width: int, height: int) -> Any:
                now_ms = market_time.now_ms()
                return board_view(await read(), timeframes, now_ms, settings.provenance, width, height)

            await watch_screen(draw, REFRESH_S)
        else:
            found = await read()
            if not found:
                _say_empty(stage, exchanges)
                return
            print_boards(found, timeframes)


async def _print_json(read: Any, timeframes: tuple[Timeframe, ...] | None, watch: bool) -> None:
    """One list; with --watch one list a line, every two seconds."""
    import asyncio
    import json

    while True:
        rows = [_narrow(row.as_dict(), timeframes) for row in await read()]
        typer.echo(json.dumps(rows))
        if not watch:
            return
        await asyncio.sleep(REFRESH_S)


def _narrow(row: dict[str, Any], timeframes: tuple[Timeframe, ...] | None) -> dict[str, Any]:
    if timeframes is not None:
        row["cells"] = {tf.value: row["cells"][tf.value] for tf in timeframes}
    return row


def _say_empty(stage: str | None, exchanges: Sequence[str]) -> None:
    """`exchanges`: as they were named; none where all were meant."""
    why = f"No symbol is {stage} now. See: livermore status"
    if stage is None:
        named = " and ".join(exchanges)
        why = f"Nothing is monitored on {named or 'any exchange'}. "
        why += f"Start it: livermore start {exchanges[0] if exchanges else 'EXCHANGE'}"
    typer.echo(why, err=True)


async def _rows(stores: Stores, exchanges: list[str]) -> list[ExchangeRow]:
    from livermore_dagster.cli.lookup import active_rows

    async with stores.pool.connection() as connection:
        return await active_rows(connection, exchanges)


async def _symbols(
    stores: Stores, rows: Sequence[ExchangeRow], text: str | None
) -> dict[int, tuple[str, ...]] | None:
    """By exchange id. A listed symbol must be known to one of the exchanges."""
    from livermore_dagster.errors import UnknownSymbol
    from livermore_dagster.platform.options import parse_symbols
    from livermore_dagster.stores.postgres.symbols import read_canonical_symbols
    from livermore_dagster.stores.redis.overview import read_monitored

    choice = parse_symbols(text)
    if choice is None:
        return None
    monitored = await read_monitored(stores.redis, rows)
    if choice.top is not None:
        return {row.id: monitored[row.id][: choice.top] for row in rows}
    async with stores.pool.connection() as connection:
        known = {row.id: await read_canonical_symbols(connection, row.id) for row in rows}
    for symbol in choice.listed:
        if not any(symbol in names for names in known.values()):
            everything = sorted({name for names in known.values() for name in names})
            raise UnknownSymbol(symbol, " or ".join(row.name for row in rows), everything)
    # Looked up at each: one may know it by another name (BTC-USDC is BTC-USD on Coinbase).
    return {
        row_id: tuple(names[symbol] for symbol in choice.listed if symbol in names)
        for row_id, names in known.items()
    }


async def _read(
    stores: Stores,
    rows: Sequence[ExchangeRow],
    symbols: dict[int, tuple[str, ...]] | None,
    now_ms: int,
    timeframes: tuple[Timeframe, ...] | None,
    sort: Sort,
    stage: str | None,
) -> list[BoardRow]:
    from livermore_dagster.accounts.settings import load_active
    from livermore_dagster.accounts.wishes import timeframes_of
    from livermore_dagster.platform.board import read_board

    shown = [tf.value for tf in timeframes] if timeframes is not None else None
    async with stores.pool.connection() as connection:
        people = await load_active(connection)
    computed = {row.id: timeframes_of(people, row.name) for row in rows}
    found = await read_board(stores.redis, rows, now_ms, symbols=symbols, computed=computed)
    if stage is not None:
        found = [row for row in found if stage in _stages(row, shown)]
    order = [row.name for row in rows]
    return sorted(found, key=lambda row: (order.index(row.exchange), _place(row, sort, shown)))


def _stages(row: BoardRow, shown: list[str] | None) -> set[str]:
    return {str(cell["stage"]) for name, cell in row.cells.items() if shown is None or name in shown}


def _place(row: BoardRow, sort: Sort, shown: list[str] | None) -> tuple[Any, ...]:
    names = shown or list(row.cells)
    match sort:
        case Sort.RANK:
            return (row.rank,)
        case Sort.SYMBOL:
            return (row.symbol,)
        case Sort.AGE:
            return (-(row.age_ms if row.age_ms is not None else 1 << 62), row.symbol)
        case Sort.MACDV:
            values = (row.cells[tf]["value"] for tf in reversed(names))
            value = next((value for value in values if value is not None), None)
            return (value is None, -(value or 0.0), row.symbol)
        case Sort.BIAS:
            return (["bullish", "neutral", "bearish"].index(row.bias), row.rank)
        case Sort.PORTFOLIO:
            return (_PORTFOLIO.index(row.portfolio), row.rank)


_PORTFOLIO = [
    "STRONG BUY", "Bullish", "Reversal Up?", "Mixed", "Reversal Down?", "Bearish", "STRONG SELL", "No Data",
]  # fmt: skip
