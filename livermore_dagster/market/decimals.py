"""Exact arithmetic on money: a decimal context wide enough that sums and products never round."""

from __future__ import annotations

import decimal
from contextlib import AbstractContextManager
from typing import Final

__all__ = ["exact"]

_CONTEXT: Final = decimal.Context(prec=80, rounding=decimal.ROUND_HALF_EVEN)
"""80 digits: 40 before the point of any sum are more than all money has, 40 behind it more than any
price × size. Python's own 28 would round a sum of a million fills with 18 decimals."""


def exact() -> AbstractContextManager[decimal.Context]:
    """Inside the block Decimal adds and multiplies without rounding; a quotient has 80 digits."""
    return decimal.localcontext(_CONTEXT)
