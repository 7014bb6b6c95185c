"""Fills drawn for property tests: few symbols, fees in quote, base or another asset."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st

from livermore_dagster.market.decimals import exact
from livermore_dagster.market.trades import Fill, Liquidity, Side

JANUARY_MS = 1_767_225_600_000
DAY_MS = 86_400_000

amounts = st.integers(1, 10**12).map(lambda units: Decimal(units).scaleb(-8))
fee_rates = st.sampled_from([Decimal(text) for text in ("0", "0.0006", "0.012", "-0.0001")])


@st.composite
def fill_lists(draw: st.DrawFn, fee_assets: tuple[str, ...] = ("quote",)) -> list[Fill]:
    """Fills with ids of their own, in order of time; an order has one symbol and side."""
    found = []
    at = JANUARY_MS
    for number in range(draw(st.integers(0, 40))):
        order = draw(st.integers(0, 12))
        base, quote = ("AAA", "BBB", "CCC")[order % 3], ("USD", "USDC")[order % 2]
        price, size = draw(amounts), draw(amounts)
        at += draw(st.integers(0, 12 * DAY_MS))
        asset = draw(st.sampled_from(fee_assets))
        with exact():
            value = price * size
            rate = draw(fee_rates)
            fee = {"quote": value * rate, "base": size * rate, "BNB": Decimal("0.001")}[asset]
        found.append(
            Fill(
                f"f{number}", f"o{order}", f"{base}-{quote}", base, quote,
                Side.BUY if order % 4 < 2 else Side.SELL, at, price, size, value, fee,
                {"quote": quote, "base": base, "BNB": "BNB"}[asset], draw(st.sampled_from(Liquidity)),
            )
        )  # fmt: skip
    return found


def fee_in_quote(fill: Fill) -> Decimal | None:
    """As the store does it for fees in quote and base; another asset has no price here."""
    if fill.fee_currency == fill.quote:
        return fill.fee
    with exact():
        return fill.fee * fill.price if fill.fee_currency == fill.base else None
