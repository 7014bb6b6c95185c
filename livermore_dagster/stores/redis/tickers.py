"""Last known tickers, for prices in alerts and on screens (P14)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec
import redis.asyncio

from livermore_dagster.stores.redis import keys

__all__ = ["TICKER_TTL_S", "Ticker", "read_tickers", "write_tickers"]

TICKER_TTL_S = 60


@dataclass(frozen=True, slots=True)
class Ticker:
    """Prices in quote currency, `volume_24h` in base, canonical decimal text; `ts`: exchange epoch ms."""

    symbol: str
    price: str
    bid: str | None
    ask: str | None
    change_24h_pct: str | None
    high_24h: str | None
    low_24h: str | None
    volume_24h: str | None
    quote_volume_24h: str | None
    ts: int
    exchange_id: int = 0
    exchange: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Ticker).decode


async def write_tickers(
    client: redis.asyncio.Redis, exchange_id: int, exchange_name: str, tickers: Sequence[Ticker]
) -> None:
    """Keeps each for TICKER_TTL_S and publishes it with its source, all in one round trip."""
    if not tickers:
        return
    pipe = client.pipeline(transaction=False)
    for ticker in tickers:
        named = replace(ticker, exchange_id=exchange_id, exchange=exchange_name)
        text = _encode(named).decode()
        pipe.set(keys.ticker(exchange_id, ticker.symbol), text, ex=TICKER_TTL_S)
        pipe.publish(keys.channel_ticker(exchange_id, ticker.symbol), text)
    await pipe.execute()


async def read_tickers(
    client: redis.asyncio.Redis, exchange_id: int, symbols: Iterable[str]
) -> dict[str, Ticker]:
    """Those of `symbols` of which a ticker came within TICKER_TTL_S."""
    wanted = list(dict.fromkeys(symbols))
    if not wanted:
        return {}
    texts = await client.mget([keys.ticker(exchange_id, symbol) for symbol in wanted])
    return {symbol: _decode(text) for symbol, text in zip(wanted, texts, strict=True) if text}
