"""Pictures of a soak: memory and sizes, latencies, over market time."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.soak.sampling import Sample, series

mpl.rcParams |= {"font.size": 11, "axes.grid": True, "grid.alpha": 0.3}
SIZE = (11, 8)
STYLES = ("-", "--", ":")
"""One for each round of the ten colours."""


def draw_memory(samples: list[Sample], path: Path, title: str) -> None:
    figure = Figure(figsize=SIZE, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    figure.suptitle(title)
    _lines(upper, samples, "memory", "memory, MB")
    _lines(lower, samples, "size", "stored, MB")
    lower.set_xlabel("market time, hours")
    figure.savefig(path, dpi=110)


def draw_latency(samples: list[Sample], path: Path, title: str) -> None:
    figure = Figure(figsize=SIZE, layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    figure.suptitle(title)
    found = series(samples, "latency")
    for axes, prefix, label in zip(
        panels,
        ("close_lag", "close_to_alert"),
        ("end of a candle → proven closed,\nms of real time", "close → alert published, ms"),
        strict=True,
    ):
        for name, (hours, values) in found.items():
            if name.startswith(f"{prefix} "):
                axes.plot(hours, values, marker="o", markersize=3, label=name.removeprefix(f"{prefix} "))
        axes.set_ylabel(label)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        # Within one power of ten there is no major tick to read.
        low, high = axes.get_ylim()
        axes.yaxis.set_minor_formatter("{x:,.0f}" if high < 10 * low else "")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False)
    panels[1].set_xlabel("market time, hours; each point is the hour before it")
    figure.savefig(path, dpi=110)


def _lines(axes: Axes, samples: list[Sample], kind: str, label: str) -> None:
    found = sorted(series(samples, kind).items(), key=lambda item: -max(item[1][1], default=0))
    for place, (name, (hours, values)) in enumerate(found):
        axes.plot(hours, values, STYLES[place // 10], label=name, linewidth=1.4)
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
