"""An independent reading of the written rules: MACD-V by talipp, alerts by a plain restatement.

Shares no code with the platform. Input are an exchange's final candles of one series, oldest first; what
the series does not hold (a bar without trades) is a bar like any other to the averages and none to the ATR.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from talipp.indicators import ATR, EMA
from talipp.ohlcv import OHLCV

COOLDOWN_MS = 300_000
LEVELS = (150, 200, 250, 300, 350, 400)


class Bar(NamedTuple):
    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Value(NamedTuple):
    """MACD-V at an observed bar; `seen` counts the observed bars so far, this one included."""

    open_ms: int
    v: float
    s: float | None
    seen: int


class Alert(NamedTuple):
    open_ms: int
    label: str


def values(bars: Sequence[Bar], step_ms: int) -> list[Value]:
    """One value for each observed bar that has one."""
    fast, slow, line, atr = EMA(12), EMA(26), EMA(9), ATR(26)
    found: list[Value] = []
    seen = 0
    previous: Bar | None = None
    for bar in bars:
        absent = 0
        if previous is not None:
            absent = max(0, bar.open_ms // step_ms - previous.open_ms // step_ms - 1)
        held = previous.close if previous is not None else bar.close
        for close, observed in [(held, None)] * absent + [(bar.close, bar if bar.volume > 0 else None)]:
            fast.add(close)
            slow.add(close)
            if observed is not None:
                seen += 1
                atr.add(OHLCV(bar.open, bar.high, bar.low, bar.close, bar.volume))
            if slow[-1] is None or not atr or atr[-1] is None or atr[-1] < 1e-9 * close:
                continue
            v = 100 * (fast[-1] - slow[-1]) / atr[-1]
            line.add(v)
            if observed is not None:
                found.append(Value(bar.open_ms, v, line[-1], seen))
        previous = bar
    return found


@dataclass
class _Memory:
    armed: bool = True
    last: dict[str, int] | None = None


def _level(before: float, now: float) -> str | None:
    down = [level for level in LEVELS if before >= -level > now]
    up = [level for level in LEVELS if before <= level < now]
    if down:
        return f"level_-{max(down)}"
    return f"level_{max(up)}" if up else None


def _reversal(before: float, value: Value) -> str | None:
    if value.s is None:
        return None
    histogram = value.v - value.s
    if before < -150 and value.v < -150 and histogram > 0.05 * abs(value.v):
        return "reversal_oversold"
    if before > 150 and value.v > 150 and histogram < -0.03 * abs(value.v):
        return "reversal_overbought"
    return None


def alerts(
    bars: Sequence[Bar],
    step_ms: int,
    watermark_ms: int,
    until_ms: int,
    *,
    whole_history: bool,
    before: Collection[tuple[int, str]] = (),
) -> list[Alert]:
    """Alerts of the candles after `watermark_ms` (their open) that end by `until_ms`.

    `whole_history`: the exchange has no bars older than the first one here, so a warming series may alert.
    `before`: alerts (open, label) raised up to the watermark; cooldown and re-arming go on from them.
    """
    memory = _Memory(last={})
    assert memory.last is not None
    raised: list[Alert] = []
    known = values(bars, step_ms)
    for earlier, now in pairwise(known):
        end = now.open_ms + step_ms
        level = _level(earlier.v, now.v)
        if level:
            memory.armed = True
        if now.open_ms <= watermark_ms:
            for open_ms, label in before:
                if open_ms == now.open_ms:
                    memory.last[label] = end
                    memory.armed = memory.armed and not label.startswith("reversal")
            continue
        if end > until_ms or now.seen < (60 if whole_history else 200):
            continue
        labels = [level] if level else []
        reversal = _reversal(earlier.v, now)
        if reversal and memory.armed:
            labels.append(reversal)
        for label in labels:
            last = memory.last.get(label)
            if last is not None and end - last < COOLDOWN_MS:
                continue
            memory.last[label] = end
            if label.startswith("reversal"):
                memory.armed = False
            raised.append(Alert(now.open_ms, label))
    return raised
