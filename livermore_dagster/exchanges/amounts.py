"""Money as exchanges write it, made exact decimals: never by way of a float."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Context, Decimal

from livermore_dagster.exchanges.account_contract import UnknownProduct
from livermore_dagster.market.exchange import Product

__all__ = ["amount", "finite", "product_of", "quotient", "times", "total"]

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII).fullmatch

# Wider than any product or sum of two amounts an exchange writes, so that these never round.
_EXACT = Context(prec=200)
_DIVISION = Context(prec=28)


def amount(text: str, field: str) -> Decimal:
    """Exactly the number that `text` is. Raises ValueError, naming the field, for anything else."""
    if _NUMBER(text) is None:
        raise ValueError(f"{field} is {text!r}, no number")
    return Decimal(text)


def finite(number: Decimal, field: str) -> Decimal:
    """A number the JSON decoder read as decimal. Raises ValueError, naming the field, for NaN and such."""
    if not number.is_finite():
        raise ValueError(f"{field} is {number}, no finite number")
    return number


def product_of(symbol: str, products: Mapping[str, Product]) -> Product:
    """Raises UnknownProduct. Base and quote come from the exchange's list, never from the name (X3b)."""
    product = products.get(symbol)
    if product is None:
        raise UnknownProduct(symbol)
    return product


def times(left: Decimal, right: Decimal) -> Decimal:
    """The exact product."""
    return _EXACT.multiply(left, right)


def total(left: Decimal, right: Decimal) -> Decimal:
    """The exact sum."""
    return _EXACT.add(left, right)


def quotient(left: Decimal, right: Decimal) -> Decimal:
    """To 28 digits. Raises ArithmeticError for a division by zero."""
    return _DIVISION.divide(left, right)
