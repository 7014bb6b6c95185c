"""Pictures of fees as SVG: by month with the effective rate, and by symbol; drawn as in pictures.py."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

from livermore_dagster.market.fees import FeeLine, FeeReport
from livermore_dagster.trades.fee_text import as_money, as_rate

__all__ = ["months_markdown", "symbols_markdown"]

_WIDTH, _TOP, _PLOT_H, _LEFT, _RIGHT = 920, 40, 240, 84, 70
_BACK, _GRID, _TEXT, _BAR, _LINE = "#0f141b", "#243040", "#9fb0c3", "#4da3ff", "#f5a623"
SHOWN_SYMBOLS = 20


def months_markdown(report: FeeReport) -> str:
    """Fees of each month as bars, the effective rate as a line; of the quote currency most traded."""
    if not report.totals:
        return "No fills yet."
    quote = report.totals[0].quote
    lines = [line for line in report.by_month if line.quote == quote]
    title = f"Fees by month in {quote}, and effective rate"
    return _embedded(title, _months(lines, title, quote))


def symbols_markdown(report: FeeReport) -> str:
    """The symbols with the highest fees, of the quote currency most traded."""
    if not report.totals:
        return "No fills yet."
    quote = report.totals[0].quote
    lines = [line for line in report.by_symbol if line.quote == quote][:SHOWN_SYMBOLS]
    title = f"Highest fees by symbol in {quote}"
    return _embedded(title, _symbols(lines, title, quote))


def _embedded(title: str, svg: str) -> str:
    encoded = base64.b64encode(svg.encode()).decode()
    return f"![{title}](data:image/svg+xml;base64,{encoded})"


def _frame(title: str, height: int, parts: Sequence[str]) -> str:
    return "".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
                f'viewBox="0 0 {_WIDTH} {height}" font-family="Inter,Helvetica,Arial,sans-serif" '
                'font-size="11">'
            ),
            f'<rect width="{_WIDTH}" height="{height}" rx="8" fill="{_BACK}"/>',
            f'<text x="14" y="24" fill="#e8eef5" font-size="14" font-weight="600">{title}</text>',
            *parts,
            "</svg>",
        ]
    )


def _scale_end(highest: float) -> float:
    """The round number at or above the highest value, so that its quarters are round too."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(
        part * power for part in (1, 1.2, 1.6, 2, 3, 4, 6, 8, 10) if part * power >= highest * 0.999_999
    )


def _short(value: float) -> str:
    return f"{value:,.8f}".rstrip("0").rstrip(".")


def _months(lines: Sequence[FeeLine], title: str, quote: str) -> str:
    most = _scale_end(max((float(line.fees) for line in lines), default=0.0))
    rates = [float(line.rate or 0) for line in lines]
    high = _scale_end(max(rates, default=0.0) * 100) / 100
    step = (_WIDTH - _LEFT - _RIGHT) / max(len(lines), 1)
    bottom = _TOP + _PLOT_H
    parts = []
    for share in (0.25, 0.5, 0.75, 1.0):
        y = bottom - share * _PLOT_H
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{_GRID}"/>')
        parts.append(_label(_LEFT - 8, y + 4, _short(most * share), "end"))
        parts.append(_label(_WIDTH - _RIGHT + 8, y + 4, f"{_short(high * share * 100)}%", "start", _LINE))
    every = max(1, len(lines) // 12)
    path: list[str] = []
    for at, (line, rate) in enumerate(zip(lines, rates, strict=True)):
        x = _LEFT + (at + 0.5) * step
        tall = max(float(line.fees), 0.0) / most * _PLOT_H
        told = f"{line.month}: {as_money(line.fees, quote)} {quote}, {as_rate(line.rate)}"
        parts.append(
            f'<rect x="{x - step * 0.35:.1f}" y="{bottom - tall:.1f}" width="{step * 0.7:.1f}" '
            f'height="{tall:.1f}" fill="{_BAR}" opacity="0.8"><title>{told}</title></rect>'
        )
        path.append(f"{'L' if path else 'M'}{x:.1f} {bottom - rate / high * _PLOT_H:.1f}")
        if at % every == 0:
            parts.append(_label(x, bottom + 18, line.month or "?", "middle"))
    parts.append(f'<path d="{"".join(path)}" fill="none" stroke="{_LINE}" stroke-width="1.8"/>')
    return _frame(title, bottom + 32, parts)


def _symbols(lines: Sequence[FeeLine], title: str, quote: str) -> str:
    most = max((float(line.fees) for line in lines), default=0.0) or 1.0
    row, left = 20, 130
    parts = []
    for at, line in enumerate(lines):
        y = _TOP + at * row
        wide = max(float(line.fees), 0.0) / most * (_WIDTH - left - 200)
        parts.append(_label(left - 8, y + 14, line.symbol or "", "end"))
        parts.append(f'<rect x="{left}" y="{y + 3}" width="{wide:.1f}" height="{row - 6}" fill="{_BAR}"/>')
        parts.append(
            _label(left + wide + 8, y + 14, f"{as_money(line.fees, quote)} ({as_rate(line.rate)})", "start")
        )
    return _frame(title, _TOP + len(lines) * row + 14, parts)


def _label(x: float, y: float, text: str, anchor: str, colour: str = _TEXT) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{text}</text>'
