"""Liquidity: known scales, unknown parts leave their weight, more is never worse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livermore_dagster.market.liquidity import Liquidity, grade_of, liquidity_score

AMOUNTS = st.none() | st.floats(0, 1e12)
KNOWN = st.builds(
    Liquidity, st.none() | st.integers(-1, 10**8), AMOUNTS, st.none() | st.floats(0, 1e4), AMOUNTS
)


def test_nothing_known_is_no_score_and_no_grade() -> None:
    assert liquidity_score(Liquidity()) is None
    assert grade_of(None) is None


@pytest.mark.parametrize(
    ("known", "score", "grade"),
    [
        (Liquidity(2_000_000, 2e9, 0.1, 5e6), 1.0, "A"),
        (Liquidity(10, 5e3, 300.0, 10.0), 0.0, "F"),
        # By hand: log10(1e6/1e4) / 5 = 0.4, and nothing else known.
        (Liquidity(volume_24h_usd=1e6), 0.4, "C"),
        # (0.4 × 0.4 + 0.3 × 0.5) / 0.7: a spread of 10 bp is halfway.
        (Liquidity(volume_24h_usd=1e6, spread_bps=10.0), 0.443, "C"),
        (Liquidity(trades_24h=-1, volume_24h_usd=1e6), 0.4, "C"),
    ],
)
def test_scores_by_hand(known: Liquidity, score: float, grade: str) -> None:
    assert liquidity_score(known) == score
    assert grade_of(score) == grade


@given(KNOWN)
def test_a_score_lies_between_0_and_1(known: Liquidity) -> None:
    score = liquidity_score(known)
    assert score is None or 0.0 <= score <= 1.0


@given(KNOWN, st.floats(1, 1e6))
def test_more_volume_and_a_tighter_spread_never_lower_it(known: Liquidity, factor: float) -> None:
    if known.volume_24h_usd is None or known.spread_bps is None:
        return
    better = Liquidity(
        known.trades_24h, known.volume_24h_usd * factor, known.spread_bps / factor, known.depth_usd
    )
    assert (liquidity_score(better) or 0) >= (liquidity_score(known) or 0)
