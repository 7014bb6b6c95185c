"""What all dialects read: canonical decimal text at streaming speed, typed bodies, Retry-After."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final, TypeVar

import msgspec

from livermore_dagster.errors import ExchangeUnavailable
from livermore_dagster.market.candle import canonical

__all__ = [
    "decode_body",
    "fresh_text",
    "product_text",
    "retry_after_ms",
    "spread_bps",
    "text",
    "text_or_none",
]

T = TypeVar("T")
_MOST_KNOWN: Final = 32_768


def fresh_text(number: str) -> str:
    """`text` of a number that hardly ever repeats (the volume of a running candle)."""
    whole, _, fraction = number.partition(".")
    # Digits with a point between them; what begins otherwise than '0.' or '1' … '9' has zeros too many.
    if (
        fraction.isdigit()
        and whole.isdigit()
        and (number >= "1" or "0." <= number < "0/")
        and number.isascii()
    ):
        return number.rstrip("0").rstrip(".")
    return canonical(number)


class _Known(dict[str, str]):
    """Canonical text by what was sent. Full, it begins anew: keeping an order of use costs too much."""

    def __missing__(self, number: str) -> str:
        if len(self) >= _MOST_KNOWN:
            self.clear()
        found = self[number] = fresh_text(number)
        return found


text: Final[Callable[[str], str]] = _Known().__getitem__
"""Canonical decimal text of what an exchange sent. Raises ValueError for anything but a finite number.

Remembered: prices repeat from frame to frame of a candle.
"""


def text_or_none(number: str | None) -> str | None:
    """None for what an exchange leaves out or empty."""
    return text(number) if number else None


def product_text(left: str, right: str) -> str | None:
    """Exact product of two numbers; None where either is missing."""
    return canonical(Decimal(left) * Decimal(right)) if left and right else None


def spread_bps(bid: str, ask: str) -> float | None:
    """In hundredths of a percent of their middle; None where a side is missing, 0 or above the other."""
    if not bid or not ask:
        return None
    low, high = float(bid), float(ask)
    return (high - low) / (high + low) * 20_000 if 0 < low <= high else None


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
