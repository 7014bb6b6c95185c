"""Canonical text: the quick way says what decimal arithmetic says."""

from __future__ import annotations

import pickle
from decimal import Decimal, InvalidOperation

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from livermore_dagster.exchanges.wire import fresh_text, text
from livermore_dagster.market.candle import Candle

NUMBERS = st.from_regex(r"\A0{0,2}[0-9]{1,12}(\.[0-9]{0,12})?\Z")
ODD = st.text("019.eE+-_ ²١n", max_size=8)


@given(NUMBERS | ODD)
@example("0.00000000")
@example("00.50")
@example(".5")
@example("5.")
@example("١.٥")
@example("-0.0")
def test_text_is_what_exact_arithmetic_says_or_both_refuse(number: str) -> None:
    try:
        exact = Decimal(number)
        finite = exact.is_finite()
    except InvalidOperation:
        finite = False
    if not finite:
        with pytest.raises(ValueError, match="number"):
            fresh_text(number)
        return
    found = fresh_text(number)
    assert text(number) == found
    assert Decimal(found) == exact
    assert found == "0" if exact == 0 else not found.startswith(("+", "00", "."))
    assert "." not in found or not found.endswith(("0", "."))
    assert found.isascii()
    assert fresh_text(found) == found


def test_a_candle_is_a_value() -> None:
    one, same = Candle(0, "1", "2", "0.5", "1.5", "9"), Candle(0, "1", "2", "0.5", "1.5", "9")
    assert one == same
    assert hash(one) == hash(same)
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - made here
    assert replace(one, close="1.6") != one
