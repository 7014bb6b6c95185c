"""The picture of an alert (S9): candles, EMA9, volume; below them MACD-V, signal, histogram and the marker.

Drawn for a phone: 1,000 pixels wide with type that is read at 400. Only matplotlib's Agg canvas is used,
never pyplot, which keeps figures in a global list.
"""

from __future__ import annotations

import io
import math
from datetime import UTC, datetime
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from livermore_dagster.notify.chart_request import ChartRequest

__all__ = ["paint"]

_BACK, _PANEL, _GRID, _TEXT, _DIM = "#0f141b", "#131a23", "#223041", "#e8eef5", "#93a4b8"
_UP, _DOWN, _LINE, _SIGNAL, _EMA = "#2fbf8f", "#ef5b6b", "#4da3ff", "#f5a623", "#c792ea"
_WIDTH_IN, _HEIGHT_IN, _DPI = 10.0, 8.4, 100
_BIG, _TYPE, _SMALL = 21.0, 16.0, 14.5
"""Points: at 400 pixels wide the smallest is still 8 pixels high."""
_TITLE_CHARS: Final = 44
"""As many fit at full size."""
_EMA_BARS: Final = 9
_BARS_LEAST: Final = 30.0
"""Places on the time axis, however few bars there are: a candle is never a wall."""
_LEVELS: Final = (150, -150)
_INNER: Final = (50, -50)
_REACH: Final = 165.0
_BOX_WIDE, _BOX_HIGH = (0.02, 0.155), 0.12
"""What the marker's box covers left of the ring, and its height, in shares of the panel."""
Floats = NDArray[np.float64]


def paint(request: ChartRequest) -> bytes:
    """PNG. Raises ValueError where there is no bar to paint."""
    if not request.open_ms:
        raise ValueError("there are no bars")
    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), dpi=_DPI, facecolor=_BACK)
    canvas = FigureCanvasAgg(figure)
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": _TYPE, "path.simplify": True}):
        price = figure.add_axes((0.018, 0.485, 0.826, 0.405))
        below = figure.add_axes((0.018, 0.072, 0.826, 0.375))
        _dress(price)
        _dress(below)
        _head(figure, request)
        bars = _Bars(request)
        _price_panel(price, bars)
        _macdv_panel(below, bars, request)
        _time_axis(below, bars)
        out = io.BytesIO()
        canvas.print_png(out, pil_kwargs={"compress_level": 3})  # type: ignore[no-untyped-call]
    return out.getvalue()


class _Bars:
    """The last `shown` bars as columns; x is the bar's place on the time grid, so that a gap is a gap."""

    def __init__(self, request: ChartRequest) -> None:
        last = request.open_ms[-1]
        begin = last - (request.shown - 1) * request.tf_ms
        # A sparse series shows fewer bars in the same time, but never fewer than a third of them.
        count = max(sum(at >= begin for at in request.open_ms), min(len(request.open_ms), request.shown // 3))
        keep = slice(-count, None)
        self.tf_ms = request.tf_ms
        self.open_ms = np.array(request.open_ms[keep], dtype=np.int64)
        self.x = (self.open_ms - self.open_ms[0]) / request.tf_ms
        if self.x[-1] > 3 * request.shown:
            # Mostly gaps: side by side, else nothing could be seen.
            self.x = np.arange(count, dtype=np.float64)
        self.open = _column(request.open[keep])
        self.high = _column(request.high[keep])
        self.low = _column(request.low[keep])
        self.close = _column(request.close[keep])
        self.volume = _column(request.volume[keep])
        self.ema = _ema(_column(request.close))[keep]
        self.macdv = _column(request.macdv[keep])
        self.signal = _column(request.signal[keep])
        self.rising = self.close >= self.open
        last_x = float(self.x[-1])
        width = max(last_x, _BARS_LEAST) + 2.0
        # Few bars stand at the right, where the newest always is.
        self.span = (last_x + 1.0 - width, last_x + 1.0 + width * 0.015)


def _column(values: list[Any]) -> Floats:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _ema(close: Floats) -> Floats:
    """EMA9 of close, seeded with the mean of its first nine; NaN before it."""
    out = np.full(len(close), math.nan)
    if len(close) < _EMA_BARS:
        return out
    held = float(close[:_EMA_BARS].mean())
    out[_EMA_BARS - 1] = held
    for index in range(_EMA_BARS, len(close)):
        held += 2.0 / (_EMA_BARS + 1) * (float(close[index]) - held)
        out[index] = held
    return out


def _dress(axes: Axes) -> None:
    axes.set_facecolor(_PANEL)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0, colors=_DIM, labelsize=_SMALL, pad=5)
    axes.yaxis.tick_right()
    axes.grid(axis="y", color=_GRID, linewidth=0.9)
    axes.set_axisbelow(True)
    axes.set_xticks([])


def _head(figure: Figure, request: ChartRequest) -> None:
    colour = _UP if request.up else _DOWN
    size = _BIG * min(1.0, _TITLE_CHARS / max(1, len(request.title)))
    figure.text(0.018, 0.972, request.title, color=_TEXT, fontsize=size, weight="bold", va="top")
    figure.text(0.018, 0.925, request.subtitle, color=colour, fontsize=_TYPE, va="top", weight="bold")
    if request.simulated:
        box = {"boxstyle": "round,pad=0.3", "facecolor": _SIGNAL, "edgecolor": "none"}
        figure.text(
            0.982,
            0.927,
            "SIMULATED",
            color=_BACK,
            fontsize=_TYPE,
            weight="bold",
            va="top",
            ha="right",
            bbox=box,
        )


def _price_panel(axes: Axes, bars: _Bars) -> None:
    low, high = _limits(bars.low, bars.high)
    room = (high - low) * 0.24  # the volume's, under the candles
    axes.set_xlim(bars.span)
    axes.set_ylim(low - room, high + (high - low) * 0.13)  # the legend's place
    tallest = float(np.nanmax(bars.volume)) or 1.0
    heights = bars.volume / tallest * room * 0.82
    floor = low - room
    for rising, colour in ((True, _UP), (False, _DOWN)):
        chosen = bars.rising == rising
        x = bars.x[chosen]
        axes.add_collection(
            PolyCollection(
                _boxes(x, np.full(len(x), floor), floor + heights[chosen]), color=colour, alpha=0.38
            )
        )
        wicks = np.stack(
            [np.column_stack([x, bars.low[chosen]]), np.column_stack([x, bars.high[chosen]])], axis=1
        )
        axes.add_collection(LineCollection(list(wicks), colors=colour, linewidths=1.5))
        bottom = np.minimum(bars.open[chosen], bars.close[chosen])
        top = np.maximum(bars.open[chosen], bars.close[chosen])
        top = np.maximum(top, bottom + (high - low) * 0.003)
        axes.add_collection(PolyCollection(_boxes(x, bottom, top), color=colour, linewidths=0))
    axes.plot(bars.x, bars.ema, color=_EMA, linewidth=2.0, solid_capstyle="round")
    axes.text(0.012, 0.965, "EMA9", color=_EMA, fontsize=_SMALL, transform=axes.transAxes, va="top")
    _price_ticks(axes, low, high, float(bars.close[-1]), _UP if bars.rising[-1] else _DOWN)


def _boxes(x: Floats, bottom: Floats, top: Floats) -> Any:
    left, right = x - 0.34, x + 0.34
    corners = [(left, bottom), (left, top), (right, top), (right, bottom)]
    return np.stack([np.column_stack(corner) for corner in corners], axis=1)


def _limits(low: Floats, high: Floats) -> tuple[float, float]:
    bottom, top = float(np.nanmin(low)), float(np.nanmax(high))
    if top > bottom:
        return bottom, top
    pad = abs(top) * 0.01 or 1.0
    return bottom - pad, top + pad


def _price_ticks(axes: Axes, low: float, high: float, last: float, colour: str) -> None:
    step = _nice_step((high - low) / 5)
    digits = max(0, -math.floor(math.log10(step)))
    marks = [
        tick * step
        for tick in range(math.ceil(low / step), math.floor(high / step) + 1)
        if abs(tick * step - last) > (high - low) * 0.07
    ]
    axes.set_yticks(marks, [_price(mark, digits) for mark in marks])
    # Five figures at least: between two marks a price is told exactly enough.
    digits = max(digits + 1, 4 - math.floor(math.log10(abs(last) or 1.0)))
    axes.axhline(last, color=colour, linewidth=1.2, linestyle=(0, (2, 3)))
    box = {"boxstyle": "round,pad=0.22", "facecolor": colour, "edgecolor": "none"}
    axes.annotate(
        _price(last, digits), (1.0, last), xycoords=("axes fraction", "data"), xytext=(5, 0),
        textcoords="offset points", color=_BACK, fontsize=_SMALL, weight="bold", va="center", bbox=box,
        annotation_clip=False,
    )  # fmt: skip


def _nice_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def _price(value: float, digits: int) -> str:
    """As short as the axis allows: '67,100', '0.4215', '1.23e-8'."""
    if value and abs(value) < 1e-4:
        return f"{value:.{max(2, digits + math.floor(math.log10(abs(value))))}e}".replace("e-0", "e-")
    if abs(value) >= 1e7:
        return f"{value:.5g}".replace("e+0", "e").replace("e+", "e")
    return f"{value:,.{min(digits, 6)}f}"


def _macdv_panel(axes: Axes, bars: _Bars, request: ChartRequest) -> None:
    axes.set_xlim(bars.span)
    marker = request.value if request.value is not None else math.nan
    values = np.concatenate([bars.macdv, bars.signal, [marker]])
    known = values[~np.isnan(values)]
    reach = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    # ±150 is always in sight (S9).
    low, high = min(-_REACH, reach[0]), max(_REACH, reach[1])
    pad = (high - low) * 0.09
    axes.set_ylim(low - pad, high + pad * 1.4)
    _level_lines(axes, low, high)
    histogram = bars.macdv - bars.signal
    for rising, colour in ((True, _UP), (False, _DOWN)):
        chosen = (histogram >= 0) == rising
        chosen &= ~np.isnan(histogram)
        zero = np.zeros(int(chosen.sum()))
        axes.add_collection(
            PolyCollection(
                _boxes(
                    bars.x[chosen], np.minimum(zero, histogram[chosen]), np.maximum(zero, histogram[chosen])
                ),
                color=colour,
                alpha=0.5,
                linewidths=0,
            )
        )
    axes.plot(bars.x, bars.signal, color=_SIGNAL, linewidth=1.9)
    axes.plot(bars.x, bars.macdv, color=_LINE, linewidth=2.5, solid_capstyle="round")
    place: dict[str, Any] = {"transform": axes.transAxes, "va": "top", "fontsize": _SMALL}
    axes.text(0.012, 0.972, "MACD-V", color=_LINE, weight="bold", **place)
    axes.text(0.135, 0.972, "signal", color=_SIGNAL, **place)
    if not len(known):
        axes.text(0.5, 0.5, "no value yet", color=_DIM, ha="center", transform=axes.transAxes)
    if request.value is not None:
        aside = _aside(bars, request.value, low, high)
        _mark(axes, float(bars.x[-1]), request.value, aside, up=request.up)


def _level_lines(axes: Axes, low: float, high: float) -> None:
    drawn = [level for level in (*_LEVELS, *_INNER, 0) if low <= level <= high]
    axes.grid(visible=False)
    for level in drawn:
        strong = level in _LEVELS
        colour = {150: _DOWN, -150: _UP}.get(level, _DIM)
        axes.axhline(
            level, color=colour, linewidth=1.5 if strong else 1.0, alpha=0.9 if strong else 0.45,
            linestyle=(0, (5, 3)) if strong else (0, (1, 3)) if level else "-",
        )  # fmt: skip
    apart = (high - low) * 0.065
    marks: list[int] = []
    # What matters most is labelled first; what would touch it stays without.
    for level in (
        *_LEVELS,
        0,
        *_INNER,
        *(sign * level for level in range(200, 2_001, 100) for sign in (1, -1)),
    ):
        if low <= level <= high and all(abs(level - mark) >= apart for mark in marks):
            marks.append(level)
    axes.set_yticks(marks, [f"{mark:+d}".replace("-", "−") if mark else "0" for mark in marks])


def _aside(bars: _Bars, value: float, low: float, high: float) -> float:
    """How far above the alert's ring its box hides least of the lines, the nearest such place (MACD-V)."""
    back = (bars.x[-1] - bars.x) / (bars.span[1] - bars.span[0])
    beside = (back > _BOX_WIDE[0]) & (back < _BOX_WIDE[1])
    near = np.concatenate([bars.macdv[beside], bars.signal[beside]])
    height = _BOX_HIGH * (high - low)
    steps = [step * height for step in (0.0, 1.0, -1.0, 1.5, -1.5, 2.0, -2.0, 3.0, -3.0)]
    places = [step for step in steps if low <= value + step <= high] or [0.0]
    return min(places, key=lambda step: int((np.abs(near - value - step) < height * 0.6).sum()))


def _mark(axes: Axes, x: float, value: float, aside: float, *, up: bool) -> None:
    """The alert's place: a ring on the line and its value in a box of the alert's colour, left of it."""
    colour = _UP if up else _DOWN
    axes.plot(
        [x], [value], "o", markersize=15, markerfacecolor="none", markeredgecolor=_TEXT, markeredgewidth=2.4
    )
    axes.plot([x], [value], "o", markersize=6.5, color=colour)
    box = {"boxstyle": "round,pad=0.28", "facecolor": colour, "edgecolor": "none"}
    axes.annotate(
        f"{value:+.1f}".replace("-", "−"), (x, value + aside), xytext=(-18, 0), textcoords="offset points",
        color=_BACK, fontsize=_TYPE, weight="bold", ha="right", va="center", bbox=box,
    )  # fmt: skip


def _time_axis(axes: Axes, bars: _Bars) -> None:
    """Four or five UTC times at round places; with the day where a bar is long."""
    first, last = bars.span
    wanted = [first + (last - first) * share for share in (0.1, 0.34, 0.58, 0.82)]
    marks: dict[float, str] = {}
    pattern = "%d %b" if bars.tf_ms >= 14_400_000 else "%d %b %H:%M" if bars.tf_ms >= 3_600_000 else "%H:%M"
    for want in wanted:
        near = int(np.argmin(np.abs(bars.x - want)))
        if abs(float(bars.x[near]) - want) < (last - first) * 0.08:
            at = datetime.fromtimestamp(int(bars.open_ms[near]) / 1000, UTC)
            marks[float(bars.x[near])] = at.strftime(pattern)
    axes.set_xticks(list(marks), list(marks.values()))
    axes.text(1.012, -0.018, "UTC", transform=axes.transAxes, color=_DIM, fontsize=_SMALL, va="top")
