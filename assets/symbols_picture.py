"""A picture of what trades most, as SVG: bars on a logarithmic scale, coloured by grade."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from typing import Final

from livermore_dagster.stores.postgres.symbols import SymbolRow

__all__ = ["volumes_markdown"]

_SHOWN: Final = 24
_WIDTH, _ROW, _LEFT, _TOP = 920, 17, 110, 40
_COLORS: Final = {"A": "#2fbf8f", "B": "#4da3ff", "C": "#f5a623", "D": "#e07b39", "F": "#ef5b6b"}


def volumes_markdown(title: str, ranked: Sequence[SymbolRow]) -> str:
    """Markdown with the picture embedded; a sentence where there is nothing to draw. `ranked`: best first."""
    rows = [
        (row, float(row.quote_volume_24h_usd))
        for row in ranked[:_SHOWN]
        if row.quote_volume_24h_usd is not None
    ]
    if not rows:
        return "No volumes are known yet."
    encoded = base64.b64encode(_svg(title, rows).encode()).decode()
    return f"![{title}](data:image/svg+xml;base64,{encoded})"


def _svg(title: str, rows: Sequence[tuple[SymbolRow, float]]) -> str:
    height = _TOP + len(rows) * _ROW + 12
    most = max(1.0, *(math.log10(max(volume, 1.0)) for _, volume in rows))
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
            f'viewBox="0 0 {_WIDTH} {height}" font-family="Inter,Helvetica,Arial,sans-serif" font-size="11">'
        ),
        f'<rect width="{_WIDTH}" height="{height}" rx="8" fill="#0f141b"/>',
        f'<text x="14" y="22" fill="#e8eef5" font-size="14" font-weight="600">{html.escape(title)}</text>',
        f'<text x="{_WIDTH - 14}" y="22" fill="#9fb0c3" text-anchor="end">USD, logarithmic</text>',
    ]
    for place, (row, volume) in enumerate(rows):
        y = _TOP + place * _ROW
        length = (_WIDTH - _LEFT - 150) * math.log10(max(volume, 1.0)) / most
        color = _COLORS.get(row.liquidity_grade or "", "#9fb0c3")
        name = html.escape(row.symbol)
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y + 11}" fill="#e8eef5" text-anchor="end">{name}</text>'
            f'<rect x="{_LEFT}" y="{y + 2}" width="{length:.1f}" height="{_ROW - 5}" rx="2" fill="{color}"/>'
            f'<text x="{_LEFT + length + 6:.1f}" y="{y + 11}" fill="#9fb0c3">{volume:,.0f} '
            f"({row.liquidity_grade or '–'})</text>"
        )
    return "".join([*parts, "</svg>"])
