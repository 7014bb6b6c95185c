"""Assets `indicators/<timeframe>`: the standard indicators beside MACD-V, by the `ta` library, for analysis
(S12)."""

# Annotations are not postponed here: Dagster compares that of `context` as it stands.

from collections.abc import Mapping, Sequence
from math import isclose, isnan
from typing import Any

import dagster as dg
from psycopg import AsyncConnection

from assets.candles import BOUNDARY_BARS
from assets.cells import OWNERS, cell_of, exchange_of, table
from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.series_sync import WINDOW_BARS
from livermore_dagster.audit.verdict import Row
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.candle import StampedCandle
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.timeframe import TIMEFRAMES, Timeframe
from livermore_dagster.resources import EXCHANGES, ExchangeResource
from livermore_dagster.stores.postgres.standard_indicators import (
    COLUMNS,
    read_newest_obv,
    read_standard_indicators,
    upsert_standard_indicators,
)

__all__ = ["continued_obv", "indicator_assets", "standard_columns", "with_known"]

SETTLE_BARS = 240
"""Bars before the stored window that RSI and ADX need to have forgotten where they began."""
ADX_ROWS = 29
"""`ta` raises on fewer rows than twice its window and one."""
PAGE_BARS = 5_000
"""Candles read at once where OBV is carried on over a long absence."""
Held = Mapping[int, Mapping[str, float | None]]
"""Stored rows of one series by open (ms)."""
OBV_NOTE = "OBV counts from the first bar ever read, so only its differences mean something."


def standard_columns(candles: Sequence[StampedCandle]) -> dict[str, list[float | None]]:
    """One value per candle and column, None where a window is not full yet.

    Zero-volume filler rows are the exchange's rows and take part, as on its own charts.
    """
    import pandas as pd
    from ta.momentum import RSIIndicator
    from ta.trend import ADXIndicator, EMAIndicator, SMAIndicator
    from ta.volatility import BollingerBands
    from ta.volume import OnBalanceVolumeIndicator

    high, low, close, volume = (
        pd.Series([float(getattr(one.candle, name)) for one in candles], dtype="float64")
        for name in ("high", "low", "close", "volume")
    )
    bands = BollingerBands(close, window=20, window_dev=2)
    empty = pd.Series([float("nan")] * len(candles), dtype="float64")
    found = {
        "rsi_14": RSIIndicator(close, window=14).rsi(),
        "bollinger_upper": bands.bollinger_hband(),
        "bollinger_middle": bands.bollinger_mavg(),
        "bollinger_lower": bands.bollinger_lband(),
        "adx_14": ADXIndicator(high, low, close, window=14).adx() if len(candles) >= ADX_ROWS else empty,
        "obv": OnBalanceVolumeIndicator(close, volume).on_balance_volume(),
        "sma_20": SMAIndicator(close, window=20).sma_indicator(),
        "sma_50": SMAIndicator(close, window=50).sma_indicator(),
        "ema_9": EMAIndicator(close, window=9).ema_indicator(),
    }
    # `ta` gives 0 for an ADX it cannot know yet.
    found["adx_14"] = found["adx_14"].where(found["adx_14"].index >= ADX_ROWS - 2)
    return {name: [None if isnan(v) else v for v in series.tolist()] for name, series in found.items()}


def indicator_assets() -> list[dg.AssetsDefinition]:
    """One asset per timeframe."""
    return [_indicators(timeframe) for timeframe in TIMEFRAMES]


def _indicators(timeframe: Timeframe) -> dg.AssetsDefinition:
    @dg.asset(
        key=["indicators", timeframe.value],
        deps=[dg.AssetKey(["candles", timeframe.value])],
        partitions_def=EXCHANGES,
        group_name="indicators",
        kinds={"postgres", "pandas"},
        owners=OWNERS,
        code_version="1",
        tags={"timeframe": timeframe.value},
        op_tags={"dagster/priority": str(-20 - TIMEFRAMES.index(timeframe))},
        description=(
            f"Standard indicators over {timeframe.value} candles at rest: RSI 14 and ADX 14 (0 to "
            f"100), Bollinger "
            "20/2, SMA 20, SMA 50 and EMA 9 (quote currency), OBV (base currency). For charts and analysis; "
            f"alerts never use them. {OBV_NOTE}"
        ),
    )
    def indicators(
        context: dg.AssetExecutionContext, exchange: ExchangeResource
    ) -> dg.MaterializeResult[Any]:
        async def work(ctx: ExchangeContext) -> Mapping[str, Any]:
            return await _recompute(await cell_of(ctx, timeframe, context.run.tags))

        return dg.MaterializeResult(metadata=exchange.use(exchange_of(context), work))

    return indicators


async def _recompute(cell: Cell) -> Mapping[str, Any]:
    by_symbol: dict[str, Row] = {}
    changed = 0
    # One commit for all; by name, so that two runs of a cell cannot wait for each other crosswise.
    async with cell.ctx.pool.connection() as connection:
        for symbol in sorted(cell.symbols):
            one = await _recompute_series(connection, cell, symbol)
            if one is not None:
                changed += one[0]
                by_symbol[symbol] = one[1]
    rows = [by_symbol[symbol] for symbol in cell.symbols if symbol in by_symbol]
    return {
        "exchange": cell.ctx.row.display_name,
        "boundary": dg.MetadataValue.timestamp(cell.boundary_ms / 1000),
        "rows new or changed": changed,
        "symbols without candles": len(cell.symbols) - len(rows),
        "OBV": OBV_NOTE,
        "symbols": table(rows),
    }


async def _recompute_series(
    connection: AsyncConnection[Any], cell: Cell, symbol: str
) -> tuple[int, Row] | None:
    """Rows stored and the table's row; None for a symbol without candles."""
    keep = WINDOW_BARS if cell.by_hand else BOUNDARY_BARS
    candles, held = await _read(connection, cell, symbol, keep)
    if keep < WINDOW_BARS and await _behind(connection, cell, candles, held, keep):
        keep = WINDOW_BARS
        candles, held = await _read(connection, cell, symbol, keep)
    if not candles:
        return None
    opens = [one.candle.open_ms for one in candles]
    columns = standard_columns(candles)
    anchors = await _obv_anchors(connection, cell, candles, held)
    columns["obv"] = continued_obv(opens, columns["obv"], anchors)
    columns = with_known(opens, columns, held)
    first = _first_stored(candles, keep)
    todo = [i for i in range(first, len(opens)) if _differs(columns, i, held.get(opens[i]))]
    changed = await upsert_standard_indicators(
        connection,
        cell.ctx.row.id,
        symbol,
        cell.timeframe,
        [opens[i] for i in todo],
        {name: [columns[name][i] for i in todo] for name in COLUMNS},
    )
    latest = {name: columns[name][-1] for name in ("rsi_14", "adx_14", "sma_20", "sma_50", "ema_9")}
    shown = {name: None if value is None else float(f"{value:.6g}") for name, value in latest.items()}
    return changed, {"symbol": symbol, "newest (UTC)": utc_text(opens[-1]), "bars": len(candles), **shown}


async def _read(
    connection: AsyncConnection[Any], cell: Cell, symbol: str, keep: int
) -> tuple[list[StampedCandle], Held]:
    """The newest `keep` candles and those before them that they need to settle, and what is stored of
    them."""
    candles = await cell.ctx.table.read(
        cell.ctx.row.id, symbol, cell.timeframe, 0, cell.boundary_ms, keep + SETTLE_BARS, newest=True
    )
    if not candles:
        return candles, {}
    held = await read_standard_indicators(
        connection, cell.ctx.row.id, symbol, cell.timeframe, candles[0].candle.open_ms
    )
    return candles, held


def _first_stored(candles: Sequence[StampedCandle], keep: int) -> int:
    """Before the stored window lie the bars it needs to settle, unless the series begins inside it."""
    return 0 if len(candles) < keep + SETTLE_BARS else SETTLE_BARS


async def _behind(
    connection: AsyncConnection[Any], cell: Cell, candles: Sequence[StampedCandle], held: Held, keep: int
) -> bool:
    """Whether rows lack between what is stored and the stored window: boundaries were missed."""
    first = _first_stored(candles, keep)
    if first == 0 or candles[first - 1].candle.open_ms in held:
        return False
    begin = candles[first].candle
    series = cell.ctx.row.id, candles[first].symbol, cell.timeframe
    return await read_newest_obv(connection, *series, begin.open_ms) is not None


async def _obv_anchors(
    connection: AsyncConnection[Any], cell: Cell, candles: Sequence[StampedCandle], held: Held
) -> Held:
    """Stored OBV of some of the candles; where none of them has any, that of the newest row before them,
    carried on to the first one over all that traded since."""
    if any(held.get(one.candle.open_ms, {}).get("obv") is not None for one in candles):
        return held
    until_ms = candles[0].candle.open_ms
    series = cell.ctx.row.id, candles[0].symbol, cell.timeframe
    stored = await read_newest_obv(connection, *series, until_ms)
    if stored is None:
        return held
    at_ms, value = stored
    while at_ms < until_ms:
        page = await cell.ctx.table.read(*series, at_ms, until_ms + 1, PAGE_BARS)
        if len(page) < 2:
            break
        obv = _on_balance(page)
        value += obv[-1] - obv[0]
        at_ms = page[-1].candle.open_ms
    return {until_ms: {"obv": value}}


def _on_balance(candles: Sequence[StampedCandle]) -> list[float]:
    """OBV that counts from the first of `candles`, in base currency."""
    import pandas as pd
    from ta.volume import OnBalanceVolumeIndicator

    close, volume = (
        pd.Series([float(getattr(one.candle, name)) for one in candles], dtype="float64")
        for name in ("close", "volume")
    )
    found: list[float] = OnBalanceVolumeIndicator(close, volume).on_balance_volume().tolist()
    return found


def continued_obv(opens: Sequence[int], obv: Sequence[float | None], held: Held) -> list[float | None]:
    """OBV moved so that it goes on from what is stored: its zero is where the series was first read."""
    for open_ms, value in zip(opens, obv, strict=True):
        stored = held.get(open_ms, {}).get("obv")
        if stored is not None and value is not None:
            offset = stored - value
            return [None if one is None else one + offset for one in obv]
    return list(obv)


def with_known(
    opens: Sequence[int], columns: Mapping[str, Sequence[float | None]], held: Held
) -> dict[str, list[float | None]]:
    """A value once known outlives a window that begins later, whatever else of its row changes."""
    return {
        name: [
            held.get(open_ms, {}).get(name) if value is None else value
            for open_ms, value in zip(opens, values, strict=True)
        ]
        for name, values in columns.items()
    }


def _differs(
    columns: Mapping[str, Sequence[float | None]], index: int, held: Mapping[str, float | None] | None
) -> bool:
    """Whether a row is new or says something else. What the seed still moves is no difference."""
    if held is None:
        return True
    for name in COLUMNS:
        new, old = columns[name][index], held[name]
        if new is None:
            continue  # and so was the old one: see with_known
        if old is None or not isclose(new, old, rel_tol=1e-4, abs_tol=1e-9):
            return True
    return False
