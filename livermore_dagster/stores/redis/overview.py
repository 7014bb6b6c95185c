"""All that screens show of many series at once: newest indicators, tickers, fold states, in one trip."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast

import msgspec
import redis.asyncio

from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.tickers import Ticker

__all__ = ["Overview", "SeriesId", "read_monitored", "read_overview", "read_states"]

_PIECE: Final = 500
"""Keys of one MGET: longer ones would hold up ingest, which shares the server."""
_decode = msgspec.json.Decoder().decode
_decode_ticker = msgspec.json.Decoder(Ticker).decode


class SeriesId(NamedTuple):
    exchange_id: int
    symbol: str
    timeframe: Timeframe


@dataclass(frozen=True, slots=True)
class Overview:
    """`indicators` as they were published. A series or symbol without one is absent."""

    indicators: Mapping[SeriesId, Mapping[str, Any]] = field(default_factory=dict)
    tickers: Mapping[tuple[int, str], Ticker] = field(default_factory=dict)


async def read_monitored(
    client: redis.asyncio.Redis, rows: Sequence[ExchangeRow]
) -> dict[int, tuple[str, ...]]:
    """Symbols each exchange's newest instance monitors, in rank order; none where it never ran."""
    texts = await client.mget([keys.monitored(row.id) for row in rows]) if rows else []
    return {row.id: tuple(json.loads(text)) if text else () for row, text in zip(rows, texts, strict=True)}


async def read_overview(
    client: redis.asyncio.Redis, series: Sequence[SeriesId], symbols: Sequence[tuple[int, str]]
) -> Overview:
    """Newest indicators of `series` and tickers of `symbols` (exchange id, symbol), in one round trip."""
    names = [keys.indicator(*one) for one in series] + [keys.ticker(*one) for one in symbols]
    texts = await _read(client, names)
    return Overview(
        {key: _decode(text) for key, text in zip(series, texts, strict=False) if text},
        {key: _decode_ticker(text) for key, text in zip(symbols, texts[len(series) :], strict=True) if text},
    )


async def read_states(client: redis.asyncio.Redis, series: Sequence[SeriesId]) -> dict[SeriesId, str]:
    """What the live fold keeps of `series` (JSON), where it keeps something."""
    texts = await _read(client, [keys.indicator_state(*one) for one in series])
    return {key: text for key, text in zip(series, texts, strict=True) if text}


async def _read(client: redis.asyncio.Redis, names: Sequence[str]) -> list[str | None]:
    if not names:
        return []
    pipe = client.pipeline(transaction=False)
    for start in range(0, len(names), _PIECE):
        pipe.mget(names[start : start + _PIECE])
    replies = cast("list[list[str | None]]", await pipe.execute())
    return [text for reply in replies for text in reply]
