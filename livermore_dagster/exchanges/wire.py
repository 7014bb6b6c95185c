"""What all dialects read: canonical decimal text at streaming speed, typed bodies, Retry-After."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import TypeVar

import msgspec

from livermore_dagster.errors import ExchangeUnavailable
from livermore_dagster.market.candle import canonical

__all__ = ["decode_body", "fresh_text", "product_text", "retry_after_ms", "text", "text_or_none"]

T = TypeVar("T")

_plain = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", re.ASCII).fullmatch


def fresh_text(number: str) -> str:
    """`text` of a number that hardly ever repeats (the close and the volume of a running candle)."""
    if _plain(number) is None:
        return canonical(number)
    return number.rstrip("0").rstrip(".") if "." in number else number


@lru_cache(maxsize=32_768)
def text(number: str) -> str:
    """Canonical decimal text of what an exchange sent. Raises ValueError for anything but a finite number.

    Remembered: open, high and low repeat from frame to frame of a candle.
    """
    return fresh_text(number)


def text_or_none(number: str | None) -> str | None:
    """None for what an exchange leaves out or empty."""
    return text(number) if number else None


def product_text(left: str, right: str) -> str | None:
    """Exact product of two numbers; None where either is missing."""
    return canonical(Decimal(left) * Decimal(right)) if left and right else None


def decode_body(decoder: msgspec.json.Decoder[T], body: bytes, what: str) -> T:
    """Raises ExchangeUnavailable for a body that is not the protocol's, an HTML page from the edge say."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        seen = body[:60].decode("utf-8", "replace")
        raise ExchangeUnavailable(f"Not a {what} reply: {error} (it begins {seen!r}).") from error


def retry_after_ms(headers: Mapping[str, str]) -> int | None:
    """The header in ms, at least one second; None where it is missing or no number of seconds."""
    try:
        seconds = float(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return max(1000, math.ceil(seconds * 1000)) if math.isfinite(seconds) else None
