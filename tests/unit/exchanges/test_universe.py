"""Tier 1, aliases, chosen symbols, the six rows and the factory."""

from __future__ import annotations

import pytest

from livermore_dagster.errors import InactiveExchange, UnknownExchange, UnknownSymbol
from livermore_dagster.exchanges.factory import dialect_for, require_active, row_named, start_rule
from livermore_dagster.exchanges.rows import BINANCE, COINBASE, KRAKEN, ROWS
from livermore_dagster.exchanges.universe import rank_universe, resolve_symbols
from livermore_dagster.market.exchange import Product
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis.desired import SymbolChoice


def product(base: str, quote: str, volume: str | None, **facts: object) -> Product:
    facts = {"trading": True, **facts}
    return Product(f"{base}{quote}", base, quote, quote_volume_24h=volume, **facts)


PRODUCTS = [
    product("BTC", "USDT", "900", price="100"),
    product("BTC", "USDC", "100", price="100"),
    product("ETH", "USDT", "50", price="5", trades_24h=None),
    product("ETH", "USDC", "500", price="5"),
    product("ADA", "USDT", "70", trades_24h=1),
    product("ADA", "BTC", "9000"),
    product("USDC", "USDT", "99999"),
    product("EUR", "USDT", "99999"),
    product("BTCUP", "USDT", "99999"),
    product("BTC3L", "USDT", "99999"),
    product("JUP", "USDT", "60"),
    product("NEW", "USDT", None),
    product("OFF", "USDT", "99999", trading=False),
    product("DOT", "USDC", "10", alias_of="DOTUSD"),
]


def test_one_product_a_base_by_dollar_volume_without_stables_fiat_and_leverage() -> None:
    ranked = [p.symbol for p in rank_universe(PRODUCTS, BINANCE, 50)]
    assert ranked == ["BTCUSDT", "ETHUSDC", "ADAUSDT", "JUPUSDT", "NEWUSDT"]
    assert [p.symbol for p in rank_universe(PRODUCTS, BINANCE, 2)] == ["BTCUSDT", "ETHUSDC"]


def test_volumes_in_other_quotes_count_in_dollars() -> None:
    import dataclasses

    row = dataclasses.replace(BINANCE, quote_currencies=("USDT", "BTC"))
    products = [product("BTC", "USDT", "900", price="100"), product("ADA", "BTC", "20"),
                product("XRP", "USDT", "1500")]  # fmt: skip
    assert [p.symbol for p in rank_universe(products, row, 9)] == ["ADABTC", "XRPUSDT", "BTCUSDT"]


def test_chosen_symbols_are_canonical_each_once_and_must_exist() -> None:
    products = [
        Product("BTC-USD", "BTC", "USD", True, quote_volume_24h="9"),
        Product("BTC-USDC", "BTC", "USDC", True, alias_of="BTC-USD"),
        Product("ETH-USD", "ETH", "USD", True, quote_volume_24h="5"),
    ]
    assert resolve_symbols(SymbolChoice(top=2), products, COINBASE) == ["BTC-USD", "ETH-USD"]
    listed = SymbolChoice(listed=("ETH-USD", "BTC-USDC", "BTC-USD"))
    assert resolve_symbols(listed, products, COINBASE) == ["ETH-USD", "BTC-USD"]
    with pytest.raises(UnknownSymbol, match=r"NOPE-USD.*coinbase.*BTC-USD"):
        resolve_symbols(SymbolChoice(listed=("NOPE-USD",)), products, COINBASE)


def test_the_six_rows() -> None:
    assert [(row.id, row.name) for row in ROWS] == [
        (1, "coinbase"), (2, "binance"), (3, "binance_us"), (4, "kraken"), (5, "kucoin"), (6, "mexc"),
    ]  # fmt: skip
    assert [row.name for row in ROWS if row.active] == ["coinbase", "binance", "binance_us"]
    assert COINBASE.streamed_timeframes == (Timeframe.M5,)
    assert set(BINANCE.streamed_timeframes) == set(BINANCE.timeframes) == set(Timeframe)
    for row in ROWS:
        assert row.rest_url.startswith("https://")
        assert row.ws_url.startswith("wss://")
        assert set(row.streamed_timeframes) <= set(row.timeframes)


def test_the_factory_never_falls_back() -> None:
    with pytest.raises(UnknownExchange, match=r"bitstamp.*coinbase, binance"):
        row_named("bitstamp")
    with pytest.raises(InactiveExchange, match=r"kraken.*coinbase, binance, binance_us"):
        dialect_for(KRAKEN)
    assert require_active(row_named("binance")) is BINANCE


def test_the_first_budget_is_cautious() -> None:
    coinbase = start_rule(COINBASE, dialect_for(COINBASE))
    assert coinbase.capacity * 1000 / coinbase.window_ms <= 8
    binance = start_rule(BINANCE, dialect_for(BINANCE))
    assert binance.capacity / binance.window_ms * 1000 / 2 <= 5
