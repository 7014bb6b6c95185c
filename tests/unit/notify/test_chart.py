"""Charts of every kind of series, in time, and without a look at the future."""

from __future__ import annotations

import struct
import time
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from livermore_dagster.market.candle import Candle
from livermore_dagster.notify.chart import _aside, _Bars, _macdv_panel, paint
from livermore_dagster.notify.chart_request import ChartRequest
from livermore_dagster.notify.illustrator import request_of
from tests.integration.signals.conftest import walk
from tests.unit.notify.alerts import BEGIN, M5, heard


def png(bars: list[Candle], **changes: Any) -> bytes:
    last = bars[-1].open_ms
    one = heard(open_ms=last, candle_end_ms=last + M5.ms, **changes)
    return paint(request_of(one, bars, simulated=True))


def scaled(bars: list[Candle], factor: float) -> list[Candle]:
    def times(text: str) -> str:
        return f"{float(text) * factor:.20f}"

    return [
        Candle(b.open_ms, times(b.open), times(b.high), times(b.low), times(b.close), b.volume) for b in bars
    ]


FLAT = [Candle(BEGIN + n * M5.ms, "5", "5", "5", "5", "0") for n in range(80)]


@pytest.mark.parametrize(
    "bars",
    [
        walk(420),
        scaled(walk(300), 1e-10),
        scaled(walk(300), 1e9),
        walk(300)[::7],
        [*walk(300)[:200:40], *walk(300)[295:]],
        walk(2),
        walk(1),
        FLAT,
        FLAT[:1],
    ],
    ids=[
        "usual",
        "tiny",
        "huge",
        "sparse",
        "mostly gaps",
        "two bars",
        "one bar",
        "flat, no volume",
        "one flat",
    ],
)
def test_any_series_gives_a_picture(bars: list[Candle]) -> None:
    picture = png(bars)
    assert picture.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", picture[16:24])
    assert (width, height) == (1_000, 840)
    assert len(picture) < 400_000


def lines_of(request: ChartRequest) -> set[float]:
    """Levels across the lower panel, those out of sight left out."""
    axes = Figure().add_subplot()
    _macdv_panel(axes, _Bars(request), request)
    low, high = axes.get_ylim()
    across = [line for line in axes.get_lines() if list(line.get_xdata()) == [0, 1]]
    return {float(np.asarray(line.get_ydata())[0]) for line in across} & {
        level for level in (-150.0, -50.0, 0.0, 50.0, 150.0) if low < level < high
    }


@pytest.mark.parametrize("value", [10.0, -70.0, 151.5, -400.0])
def test_the_levels_are_always_drawn(value: float) -> None:
    """S9, where the series is calm too."""
    request = request_of(heard(macdv=value), walk(1), simulated=False)
    assert lines_of(request) == {-150.0, -50.0, 0.0, 50.0, 150.0}


def test_the_markers_box_hides_no_line() -> None:
    """MACD-V has turned up from a low: left of the ring both lines run where the box would stand."""
    request = request_of(heard(macdv=-223.0), walk(120), simulated=False)
    bars = _Bars(request)
    bars.macdv = np.interp(bars.x, bars.x[[0, -6, -1]], [50.0, -262.0, -223.0])
    bars.signal = np.interp(bars.x, bars.x[[0, -1]], [50.0, -240.0])
    aside = _aside(bars, -223.0, -262.0, 165.0)
    back = (bars.x[-1] - bars.x) / (bars.span[1] - bars.span[0])
    under = (back > 0.02) & (back < 0.155)
    for line in (bars.macdv, bars.signal):
        assert np.abs(line[under] - (-223.0 + aside)).min() > 0.06 * (165.0 + 262.0)
    bars.macdv[:-1] = bars.signal[:-1] = 0.0
    assert _aside(bars, -223.0, -262.0, 165.0) == 0.0, "beside the ring where nothing is in its way"


def test_a_painter_that_is_warm_takes_less_than_a_second() -> None:
    bars = walk(420)
    png(bars)
    # Of this process: what else the machine does is no part of it.
    begun = time.process_time()
    png(bars)
    assert time.process_time() - begun < 1.0


def test_the_request_ends_with_the_alerts_own_bar() -> None:
    bars = walk(120)
    request = request_of(heard(open_ms=bars[-1].open_ms), bars, simulated=False)
    assert request.open_ms[-1] == bars[-1].open_ms
    assert request.macdv[:59] == [None] * 59, "below 60 observed bars nothing is published"
    assert request.macdv[59] is not None
