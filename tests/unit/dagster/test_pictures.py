"""The picture in an asset's metadata."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET

from assets.pictures import Bar, picture_markdown, render_svg


def bars(count: int, *, macdv: bool = True) -> list[Bar]:
    return [
        Bar(
            i * 60_000,
            100 + i % 7,
            108 + i % 5,
            95 - i % 3,
            101 + i % 6,
            (i % 40) * 9.0 - 180 if macdv else None,
            10.0 if macdv else None,
        )
        for i in range(count)
    ]


def test_svg_is_well_formed_and_shows_candles_and_levels() -> None:
    text = render_svg("A<B & C", bars(120), "now")
    root = ET.fromstring(text)  # noqa: S314 - our own text
    assert root.attrib["viewBox"].startswith("0 0 920")
    assert "+150" in text
    assert "MACD-V" in text


def test_without_values_the_panel_says_so() -> None:
    assert "no value yet" in render_svg("x", bars(3, macdv=False))


def test_markdown_embeds_the_picture_or_says_there_is_none() -> None:
    text = picture_markdown("BTC 1h", bars(2))
    encoded = text.split("base64,")[1].rstrip(")")
    assert base64.b64decode(encoded).startswith(b"<svg")
    assert picture_markdown("BTC 1h", []) == "No candles of BTC 1h yet."
