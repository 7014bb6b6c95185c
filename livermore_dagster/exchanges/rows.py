"""The six rows of the `exchanges` table (X1): public addresses, timeframes, limits, fees and places.

`api_limits.rest` is what the exchange states, or is known for, in weight per window; `use` is the share of
it Livermore spends; `weights` is what one call costs. Fees are the entry tier's, as fractions, for display
until an account's own tier is read; `tiers` are the published ones of 2025 (name, 30-day volume it begins at,
maker, taker), to say what the next one would save.
"""

from __future__ import annotations

from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import TIMEFRAMES, Timeframe

__all__ = ["ROWS"]

COINBASE = ExchangeRow(
    id=1,
    name="coinbase",
    display_name="Coinbase Advanced",
    rest_url="https://api.coinbase.com",
    ws_url="wss://advanced-trade-ws.coinbase.com",
    timeframes=TIMEFRAMES,
    streamed_timeframes=(Timeframe.M5,),
    quote_currencies=("USD", "USDC", "USDT"),
    api_limits={
        "rest": {"capacity": 10, "window_ms": 1000},
        "use": 0.8,
        "weights": {"candles": 1, "products": 1, "time": 1},
        "probed_timeframes": ["4h"],
    },
    fee_schedule={
        "tier": "entry",
        "maker": "0.006",
        "taker": "0.012",
        "currency": "USD",
        "tiers": [
            ["Intro 1", "0", "0.006", "0.012"],
            ["Intro 2", "10000", "0.0035", "0.0075"],
            ["Advanced 1", "25000", "0.0025", "0.004"],
            ["Advanced 2", "75000", "0.00125", "0.0025"],
            ["Advanced 3", "250000", "0.00075", "0.0015"],
            ["VIP 1", "500000", "0.0006", "0.00125"],
            ["VIP 2", "1000000", "0.0005", "0.001"],
            ["VIP 3", "5000000", "0.0004", "0.0008"],
            ["VIP 4", "10000000", "0.0002", "0.0007"],
            ["VIP 5", "50000000", "0", "0.0005"],
        ],
    },
    geo_restrictions={"excluded": ["CU", "IR", "KP", "SY"]},
    active=True,
)

BINANCE = ExchangeRow(
    id=2,
    name="binance",
    display_name="Binance",
    rest_url="https://api.binance.com",
    ws_url="wss://stream.binance.com:9443",
    timeframes=TIMEFRAMES,
    streamed_timeframes=TIMEFRAMES,
    quote_currencies=("USDT", "USDC", "USD"),
    api_limits={
        "rest": {"capacity": 6000, "window_ms": 60_000},
        "use": 0.9,
        "weights": {"candles": 2, "products": 20, "tickers": 80, "time": 1},
    },
    fee_schedule={
        "tier": "entry",
        "maker": "0.001",
        "taker": "0.001",
        "currency": "USD",
        "tiers": [
            ["Regular", "0", "0.001", "0.001"],
            ["VIP 1", "1000000", "0.0009", "0.001"],
            ["VIP 2", "5000000", "0.0008", "0.001"],
            ["VIP 3", "20000000", "0.0004", "0.0006"],
            ["VIP 4", "100000000", "0.0004", "0.00052"],
        ],
    },
    geo_restrictions={"excluded": ["US", "CA", "NL", "CU", "IR", "KP", "SY"]},
    active=True,
)

BINANCE_US = ExchangeRow(
    id=3,
    name="binance_us",
    display_name="Binance.US",
    rest_url="https://api.binance.us",
    ws_url="wss://stream.binance.us:9443",
    timeframes=TIMEFRAMES,
    streamed_timeframes=TIMEFRAMES,
    quote_currencies=("USDT", "USD", "USDC"),
    api_limits={
        "rest": {"capacity": 1200, "window_ms": 60_000},
        "use": 0.9,
        "weights": {"candles": 1, "products": 10, "tickers": 80, "time": 1},
    },
    fee_schedule={"tier": "entry", "maker": "0.004", "taker": "0.006"},
    geo_restrictions={"only": ["US"]},
    active=True,
)

KRAKEN = ExchangeRow(
    id=4,
    name="kraken",
    display_name="Kraken",
    rest_url="https://api.kraken.com",
    ws_url="wss://ws.kraken.com/v2",
    timeframes=TIMEFRAMES,
    streamed_timeframes=TIMEFRAMES,
    quote_currencies=("USD", "USDT", "USDC"),
    api_limits={"rest": {"capacity": 1, "window_ms": 1000}, "use": 1.0, "weights": {"candles": 1}},
    fee_schedule={"tier": "entry", "maker": "0.0025", "taker": "0.004"},
    geo_restrictions={"excluded": ["CU", "IR", "KP", "SY"]},
    active=False,
)

KUCOIN = ExchangeRow(
    id=5,
    name="kucoin",
    display_name="KuCoin",
    rest_url="https://api.kucoin.com",
    ws_url="wss://ws-api-spot.kucoin.com",
    timeframes=TIMEFRAMES,
    streamed_timeframes=TIMEFRAMES,
    quote_currencies=("USDT", "USDC", "USD"),
    api_limits={"rest": {"capacity": 2000, "window_ms": 30_000}, "use": 0.9, "weights": {"candles": 3}},
    fee_schedule={"tier": "entry", "maker": "0.001", "taker": "0.001"},
    geo_restrictions={"excluded": ["US", "CA", "CU", "IR", "KP", "SY"]},
    active=False,
)

MEXC = ExchangeRow(
    id=6,
    name="mexc",
    display_name="MEXC",
    rest_url="https://api.mexc.com",
    ws_url="wss://wbs-api.mexc.com/ws",
    timeframes=TIMEFRAMES,
    streamed_timeframes=TIMEFRAMES,
    quote_currencies=("USDT", "USDC", "USD"),
    api_limits={"rest": {"capacity": 300, "window_ms": 10_000}, "use": 0.9, "weights": {"candles": 1}},
    fee_schedule={"tier": "entry", "maker": "0", "taker": "0.0005"},
    geo_restrictions={"excluded": ["US", "CA", "CN", "CU", "IR", "KP", "SY"]},
    active=False,
)

ROWS: tuple[ExchangeRow, ...] = (COINBASE, BINANCE, BINANCE_US, KRAKEN, KUCOIN, MEXC)
