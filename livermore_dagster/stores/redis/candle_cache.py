"""The newest 1,000 candles of every series, written by one atomic rule (DESIGN: the write rule).

Nothing else writes candle keys, and nothing else appends to closes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import cast

import msgspec
import redis.asyncio

from livermore_dagster.market.candle import Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.member import decode, encode
from livermore_dagster.stores.redis.scripts import lua

__all__ = ["CACHE_SIZE", "CandleCache", "WriteResult"]

CACHE_SIZE = 1_000
"""Candles kept per series."""


class WriteResult(StrEnum):
    """What the write rule did with one candle."""

    INSERTED = "inserted"
    UPDATED = "updated"
    """An open candle moved on, or became final."""
    REVISED = "revised"
    """A final candle got other values."""
    UNCHANGED = "unchanged"
    """The same values; rank or stamp may have risen."""
    REFUSED = "refused"
    """Of a lower rank, or older, than what is there."""
    OLDER = "older"
    """Older than the oldest of a full cache: its place is PostgreSQL."""


_pack = msgspec.msgpack.Encoder().encode
_RESULT = {
    "i": WriteResult.INSERTED,
    "u": WriteResult.UPDATED,
    "v": WriteResult.REVISED,
    "n": WriteResult.UNCHANGED,
    "r": WriteResult.REFUSED,
    "o": WriteResult.OLDER,
}


class CandleCache:
    """Candles of one exchange in Redis."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        exchange_id: int,
        *,
        exchange_name: str = "",
        size: int = CACHE_SIZE,
    ) -> None:
        """`exchange_name` is named in published closes."""
        self._client = client
        self._exchange_id = exchange_id
        self._exchange_name = json.dumps(exchange_name)
        self._size = size
        self._script = client.register_script(lua("write_candles"))

    async def write(self, batch: Sequence[StampedCandle], wall_ms: int) -> list[WriteResult]:
        """Writes `batch` in its order by one Lua call; one result per candle.

        Candles that become final or are revised are appended to closes in the same call, and published
        unless their origin is history. `wall_ms` is the wall clock, kept in closes for latencies.
        """
        if not batch:
            return []
        series: dict[tuple[str, Timeframe], int] = {}
        rows: list[str | int] = []
        for stamped in batch:
            index = series.setdefault((stamped.symbol, stamped.timeframe), len(series) + 1)
            message = "" if stamped.rank is Rank.OPEN or stamped.origin.is_history else self._message(stamped)
            rows += (index, str(stamped.candle.open_ms), encode(stamped), str(stamped.proven_ms), message)
        exchange_id = self._exchange_id
        names = [keys.closes(exchange_id), keys.counters(exchange_id)]
        heads: list[str | int] = [self._size, str(wall_ms), len(series)]
        for symbol, timeframe in series:
            names.append(keys.candles(exchange_id, symbol, timeframe))
            heads += (symbol, timeframe, keys.channel_close(exchange_id, symbol, timeframe))
        reply = cast("str", await self._script(keys=names, args=[_pack(heads + rows)]))
        return [_RESULT[letter] for letter in reply]

    def _message(self, stamped: StampedCandle) -> str:
        """What is published of a close, as JSON; the script adds whether it is a revision."""
        candle = stamped.candle
        return (
            f'{{"exchange_id":{self._exchange_id},"exchange":{self._exchange_name},'
            f'"symbol":{json.dumps(stamped.symbol)},"timeframe":"{stamped.timeframe.value}",'
            f'"open_ms":{candle.open_ms},"end_ms":{stamped.end_ms},"open":"{candle.open}","high":"{candle.high}",'
            f'"low":"{candle.low}","close":"{candle.close}","volume":"{candle.volume}",'
            f'"settled":{"true" if stamped.rank is Rank.SETTLED else "false"},"revision":'
        )

    async def read(
        self,
        symbol: str,
        timeframe: Timeframe,
        count: int = CACHE_SIZE,
        *,
        final_only: bool = True,
        until_ms: int | None = None,
    ) -> list[StampedCandle]:
        """The newest `count` candles, oldest first; with `until_ms` only those that open before it."""
        found = await self.read_many([symbol], timeframe, count, final_only=final_only, until_ms=until_ms)
        return found[symbol]

    async def read_many(
        self,
        symbols: Iterable[str],
        timeframe: Timeframe,
        count: int = CACHE_SIZE,
        *,
        final_only: bool = True,
        until_ms: int | None = None,
    ) -> dict[str, list[StampedCandle]]:
        """`read` for several symbols in one round trip; a symbol without candles has an empty list."""
        wanted = list(dict.fromkeys(symbols))
        # One more than asked for: the newest may be open and is then left out.
        ask = count + 1 if final_only else count
        found = await self._newest(wanted, timeframe, ask, until_ms)
        if not final_only:
            return found
        # After an outage several may be unproven: those symbols are read whole.
        short = [
            symbol
            for symbol, candles in found.items()
            if len(candles) == ask and sum(one.rank is not Rank.OPEN for one in candles) < count
        ]
        found |= await self._newest(short, timeframe, self._size, until_ms)
        return {
            symbol: [one for one in candles if one.rank is not Rank.OPEN][-count:]
            for symbol, candles in found.items()
        }

    async def _newest(
        self, symbols: Sequence[str], timeframe: Timeframe, count: int, until_ms: int | None
    ) -> dict[str, list[StampedCandle]]:
        if not symbols or count < 1:
            return {symbol: [] for symbol in symbols}
        upper = "+inf" if until_ms is None else f"({until_ms}"
        pipe = self._client.pipeline(transaction=False)
        for symbol in symbols:
            key = keys.candles(self._exchange_id, symbol, timeframe)
            pipe.zrevrangebyscore(key, upper, "-inf", start=0, num=count)
        replies = cast("list[list[str]]", await pipe.execute())
        return {
            symbol: [decode(member, symbol, timeframe) for member in reversed(members)]
            for symbol, members in zip(symbols, replies, strict=True)
        }

    async def newest_final(self, symbols: Iterable[str], timeframe: Timeframe) -> dict[str, int]:
        """Open (ms) of each symbol's newest final candle; symbols without one are absent."""
        candidates = await self.read_many(symbols, timeframe, 1)
        return {symbol: candles[-1].candle.open_ms for symbol, candles in candidates.items() if candles}
