"""A trade on request is booked as any other."""

from __future__ import annotations

from decimal import Decimal

import pytest

from livermore_dagster.simulator.accounts.book import CANCELLED, Book, CannotTrade
from livermore_dagster.simulator.accounts.draw import Sizes
from livermore_dagster.simulator.clock import ManualClock
from livermore_dagster.simulator.universe import EXCHANGES
from livermore_dagster.simulator.venue import Venue

ORIGIN = 1_767_655_800_000
SIZES = Sizes(orders=60, symbols=12, days=40)
MAIN = {"coinbase": "BTC-USD", "binance": "BTCUSDT", "binance_us": "BTCUSDT"}


def fresh(exchange: str) -> tuple[Book, ManualClock]:
    clock = ManualClock(ORIGIN)
    return Book(Venue(exchange, 7, clock, fills=exchange != "coinbase"), "demo", SIZES), clock


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_live_trade_moves_balances_volume_and_numbers(exchange: str) -> None:
    book, clock = fresh(exchange)
    clock.advance(3_600_000)
    before, volume = book.balances(), book.month(clock.now_ms())[0]
    order, fill = book.place(MAIN[exchange], sell=False, size=Decimal("0.01"), maker=False)
    row, placed = book.fill(fill), book.order(order)
    assert (row.size, row.at_ms, row.maker) == (Decimal("0.01"), clock.now_ms(), False)
    assert (placed.filled, placed.value, placed.fills) == (row.size, row.value, 1)
    after = book.balances()
    moved = {name: sum(after[name]) - sum(before.get(name, (Decimal(0),))) for name in after}
    expected = {row.listing.base: row.size, row.listing.quote: -row.value}
    expected[row.fee_currency] -= row.fee
    assert {name: amount for name, amount in moved.items() if amount} == expected
    _, fills = book.of_symbol(MAIN[exchange])
    assert fills[-1] == fill
    assert book.fill_numbers(fills)[-1] > book.fill_numbers(fills)[-2]
    assert book.month(clock.now_ms())[0] > volume


def test_a_product_never_traded_before_can_be() -> None:
    book, _ = fresh("binance")
    symbol = next(name for name, item in book.venue.listings.items() if item.base == "INJ")
    assert symbol not in {item.symbol for item in book.listings}
    order, _ = book.place(symbol, sell=False, size=None, maker=True)
    assert book.order(order).listing.symbol == symbol
    assert book.balances()["INJ"][0] > 0


@pytest.mark.parametrize(
    ("symbol", "size", "text"),
    [
        ("NOPE-USD", None, "unknown symbol 'NOPE-USD'"),
        ("LUNA-USD", None, "does not trade"),
        ("NOVA-USD", None, "does not trade"),
        ("BTC-USD", Decimal("0.0000001"), "multiple of 0.00001"),
        ("BTC-USD", Decimal(-1), "above 0"),
        ("BTC-USD", Decimal(10_000_000), "insufficient funds"),
    ],
)
def test_what_cannot_be_traded_is_told_and_books_nothing(
    symbol: str, size: Decimal | None, text: str
) -> None:
    book, _ = fresh("coinbase")
    before = book.balances(), book.order_count, book.fill_count
    with pytest.raises(CannotTrade, match=text):
        book.place(symbol, sell=False, size=size, maker=False)
    assert (book.balances(), book.order_count, book.fill_count) == before


def test_nothing_trades_while_it_is_halted() -> None:
    book, clock = fresh("binance")
    book.venue.befall({"event": "halt", "symbol": "BTCUSDT", "minutes": 5}, clock.now_ms())
    clock.advance(2 * 60_000)
    with pytest.raises(CannotTrade, match="does not trade now"):
        book.place("BTCUSDT", sell=False, size=None, maker=False)
    clock.advance(10 * 60_000)
    book.place("BTCUSDT", sell=False, size=None, maker=False)


def test_a_cancelled_order_gives_back_what_it_held() -> None:
    book, clock = fresh("coinbase")
    clock.advance(60_000)
    total = {name: sum(amounts) for name, amounts in book.balances().items()}
    for order in book.open_orders():
        book.cancel(order)
        assert book.order(order).status == CANCELLED
        assert book.order(order).updated_ms == clock.now_ms()
    assert not book.open_orders()
    assert all(hold == 0 for _, hold in book.balances().values())
    assert {name: amounts[0] for name, amounts in book.balances().items()} == total
