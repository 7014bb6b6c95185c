"""The rows of the table: what each part measures, its target and what it is compared with."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import baselines, fees, live, macdv, pipeline, signals, stores, whole
from tests.bench.page import Row

__all__ = ["PARTS"]


def most(what: str, found: float, limit: float, unit: str, note: str = "", digits: int = 1) -> Row:
    """A row whose baseline is its target: no more than `limit`."""
    target, shown = f"≤ {limit:g} {unit}", f"{found:,.{digits}f} {unit}"
    return Row(what, target, shown, "the target", found / limit, found <= limit, note)


def frames() -> Iterator[Row]:
    found = baselines.kline_readers()
    ours, floor = found["ours"], found["json"]
    what = "kline frame → normalised candle"
    for name, least in (("cryptofeed", 3.0), ("ccxt", 15.0)):
        if name in found:
            ratio, bound = ours / found[name], floor / found[name]
            label = f"{name} {found['versions'][name]}: {found[name]:,.0f}/s"
            left, taken = (1e6 / speed - 1e6 / floor for speed in (least * found[name], ours))
            note = (
                f"typed JSON decoding by msgspec alone is {bound:.1f} ×; the target leaves {left:.2f} µs"
                f" for canonical text of five numbers and two objects, which take {taken:.2f}"
            )
            yield Row(what, f"≥ {least:.0f} × {name}", f"{ours:,.0f}/s", label, ratio, ratio >= least, note)
    ratio = ours / found["plain"]
    yield Row(what, "", f"{ours:,.0f}/s", f"json and Decimal: {found['plain']:,.0f}/s", ratio)


def cached() -> Iterator[Row]:
    found = pipeline.measure()
    speed = found["updates_cached_per_s"]
    ratio = speed / 20_000
    what = "frame → cached candle, sockets and Valkey, 1,000 symbols"
    note = f"{found['updates_cached_per_cpu_s']:,.0f} a second of the process's own processor time"
    yield Row(what, "≥ 20,000 updates/s", f"{speed:,.0f}/s", "the target", ratio, ratio >= 1, note)
    flood = f"{found['flood_frames_per_s']:,.0f}/s"
    note = f"{found['flood_conflated_share']:.0%} conflated: the newest of an open candle is written"
    yield Row("the same, frames as fast as they are read", "", flood, note=note)


def lag() -> Iterator[Row]:
    found = live.lag()
    note = f"coinbase at 1×, {found['closes']:.0f} closes, p50 {found['p50_ms']:,.0f}, grace 1,500 ms"
    yield most("close lag, no flag, p99", found["p99_ms"], 2_500, "ms", note, 0)


def alerts() -> Iterator[Row]:
    found = asyncio.run(signals.measure())
    note = "stored in PostgreSQL (commit) and heard by a subscriber"
    yield most("close → alert, one symbol, p50", found["close_to_alert_ms_p50"], 4, "ms", note)
    yield most("close → alert, one symbol, p99", found["close_to_alert_ms_p99"], 20, "ms", note)
    worst = f"median of {signals.ROUNDS} rounds, the worst {found['last_of_1000_ms_max']:,.0f} ms"
    yield most("close → alert, last of 1,000 at once", found["last_of_1000_ms_median"], 400, "ms", worst, 0)


def values() -> Iterator[Row]:
    found = macdv.measure()
    taken, by_talib, by_ta = (found[name] for name in ("batch_ms", "talib_ms", "ta_ms"))
    yield most("MACD-V step", found["step_us"], 3, "µs", digits=2)
    label = f"TA-Lib, the same averages: {by_talib:.2f} ms"
    what = "MACD-V of 100,000 bars"
    ratio = taken / by_talib
    yield Row(what, "≤ 2 × TA-Lib", f"{taken:.2f} ms", label, ratio, ratio <= 2)
    ratio = by_ta / taken
    yield Row(what, "≥ 100 × ta", f"{taken:.2f} ms", f"ta: {by_ta:.0f} ms", ratio, ratio >= 100)
    gaps = found["batch_with_gaps_ms"]
    note = "no target: TA-Lib knows no absent bars and averages over them as if they were not"
    yield Row(f"{what}, 5 % absent", "", f"{gaps:.2f} ms", label, gaps / by_talib, note=note)


def runs() -> Iterator[Row]:
    found = whole.boundary_runs()
    for name, middle, late in (("created", 300, 3_000), ("finished", 2_500, 8_000)):
        note = f"{found['runs']:.0f} boundaries of 15 min, 60×, binance: nothing is fetched"
        what = f"boundary event → run {name}"
        yield most(f"{what}, p50", found[f"{name}_ms_p50"], middle, "ms", note, 0)
        yield most(f"{what}, p99", found[f"{name}_ms_p99"], late, "ms", note, 0)
    note = f"{found['ingest_core_share']:.0%} of a core at 60×; Dagster and Celery are in it"
    yield most("ingest inside its Dagster run, 20 symbols × 6", found["ingest_rss_mb"], 250, "MB", note, 0)


def fetching() -> Iterator[Row]:
    found = live.fetching()
    for name in ("warmup", "backfill"):
        took, limit = found[f"{name}_s"], found[f"{name}_limit_s"]
        requests = found[f"{name}_requests"]
        label = f"{requests:.0f} requests at the limit: {limit:.0f} s"
        note = "a slot of the budget is free one window after its reply, so the exchange's own latency adds"
        ratio = took / limit
        yield Row(
            f"{name}, coinbase", "≤ 1.05 × the limit", f"{took:.1f} s", label, ratio, ratio <= 1.05, note
        )
        again = found[f"{name}_repeated_requests"]
        yield Row(f"{name} repeated: requests", "0", f"{again:.0f}", met=again == 0)
    refused = found["http_429"]
    yield Row("HTTP 429 meanwhile", "0", f"{refused:.0f}", met=refused == 0)


def tables() -> Iterator[Row]:
    found, naive = asyncio.run(stores.measure()), baselines.naive_copy()
    speed, size = found["table_candles_per_s"], found["cache_bytes_per_candle"]
    label = f"plain COPY: {naive:,.0f}/s"
    what = "candles into PostgreSQL"
    yield Row(what, "≥ 50,000/s", f"{speed:,.0f}/s", label, speed / naive, speed >= 50_000)
    again = found["table_repeated_candles_per_s"]
    yield Row("the same candles again", "", f"{again:,.0f}/s", label, again / naive)
    yield most("a candle in Valkey", size, 120, "bytes", digits=0)


def cost() -> Iterator[Row]:
    found = live.cost()
    what = f"ingest process, {found['symbols']:.0f} symbols × 3 timeframes"
    flow = f"{found['closes']:.0f} closes, {found['frames_per_s']:,.0f} frames/s"
    pace = f"the same work took {found['slower']:.2f} × the processor time it takes alone"
    note = f"at 1×, {live.WATCHED_S:.0f} s with {flow}; meanwhile {pace}"
    yield most(f"{what}, core", found["core_share"] * 100, 25, "%", note)
    imports = f"imports alone {found['imports_mb']:.0f}, with Dagster's {found['dagster_mb']:.0f}"
    note = f"the service as a process of its own; {imports}"
    yield most(f"{what}, memory", found["rss_mb"], 250, "MB", note, 0)


def fresh() -> Iterator[Row]:
    found = whole.first_candle()
    yield most("`livermore up` fresh: all up", found["up_s"], 60, "s")
    note = "binance at 1×: up to a minute of it is waiting for the candle's end"
    yield most("`livermore up` fresh → first 1m candle stored", found["first_candle_s"], 120, "s", note)


def helping() -> Iterator[Row]:
    took = baselines.help_seconds(Path(sys.executable).with_name("livermore"))
    yield most("livermore --help", took, 0.5, "s", digits=2)


def fee_report() -> Iterator[Row]:
    """A million fills: the database sums what pandas would have to load."""
    found = fees.measure()
    ours, pandas = found["ours"], found["pandas"]
    share = found["memory_share"]
    yield Row(
        "fee report over 1,000,000 fills: memory",
        "≤ 1/3 of plain pandas",
        f"{ours['mb']:,.0f} MB, {ours['seconds']:.1f} s",
        f"pandas: {pandas['mb']:,.0f} MB, {pandas['seconds']:.1f} s",
        share,
        share <= 1 / 3 and found["equal"],
        "process and its PostgreSQL backend; sums equal to the last digit",
    )
    yield Row("fills → PostgreSQL", "", f"{found['fills'] / found['load_seconds']:,.0f} fills/s")


PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "frames": frames, "cached": cached, "lag": lag, "alerts": alerts, "macdv": values, "runs": runs,
    "fetching": fetching, "stores": tables, "cost": cost, "fresh": fresh, "help": helping,
    "fees": fee_report,
}  # fmt: skip
