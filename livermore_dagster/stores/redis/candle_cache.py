"""The newest 1,000 candles of every series, written by one atomic rule (DESIGN: the write rule).

Nothing else writes candle keys, and nothing else appends to closes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, cast

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
USER_KEYS_LIVE_S = 86_400
"""A user's key that nobody writes and no instance keeps is gone after this (X3)."""


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
    """Older than the oldest of a full cache, or of a symbol that is gone: its place is PostgreSQL."""


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
        self._placing = client.register_script(lua("place_candles"))
        self._owners: dict[str, str] = {}
        """Who owns what, as last read."""

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
        names = [
            keys.closes(exchange_id),
            keys.counters(exchange_id),
            keys.candle_owners(exchange_id),
            keys.symbols_gone(exchange_id),
        ]
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
        since_ms: Mapping[str, int] | None = None,
    ) -> dict[str, list[StampedCandle]]:
        """`read` for several symbols in one round trip; a symbol without candles has an empty list.

        `since_ms`: of these symbols only what opens then or later.
        """
        wanted = list(dict.fromkeys(symbols))
        # One more than asked for: the newest may be open and is then left out.
        ask = count + 1 if final_only else count
        found = await self._newest(wanted, timeframe, ask, until_ms, since_ms)
        if not final_only:
            return found
        # After an outage several may be unproven: those symbols are read whole.
        short = [
            symbol
            for symbol, candles in found.items()
            if len(candles) == ask and sum(one.rank is not Rank.OPEN for one in candles) < count
        ]
        found |= await self._newest(short, timeframe, self._size, until_ms, since_ms)
        return {
            symbol: [one for one in candles if one.rank is not Rank.OPEN][-count:]
            for symbol, candles in found.items()
        }

    async def _newest(
        self,
        symbols: Sequence[str],
        timeframe: Timeframe,
        count: int,
        until_ms: int | None,
        since_ms: Mapping[str, int] | None,
    ) -> dict[str, list[StampedCandle]]:
        """The shared key, and the owner's where a symbol has one, read at one instant.

        Who owns what is known from before and read along: where it has changed, all is read again.
        """
        if not symbols or count < 1:
            return {symbol: [] for symbol in symbols}
        upper = "+inf" if until_ms is None else f"({until_ms}"
        lowest: Mapping[str, int] = since_ms or {}
        while True:
            places = [(symbol, key) for symbol in symbols for key in self._places(symbol, timeframe)]
            pipe = self._client.pipeline(transaction=True)
            pipe.hmget(keys.candle_owners(self._exchange_id), list(symbols))
            for symbol, key in places:
                pipe.zrevrangebyscore(key, upper, lowest.get(symbol, "-inf"), start=0, num=count)
            owners, *replies = cast("list[list[Any]]", await pipe.execute())
            known = {symbol: owner for symbol, owner in zip(symbols, owners, strict=True) if owner}
            if known == {symbol: self._owners[symbol] for symbol in symbols if symbol in self._owners}:
                break
            for symbol in symbols:
                self._owners.pop(symbol, None)
            self._owners |= known
        found: dict[str, list[str]] = {symbol: [] for symbol in symbols}
        for (symbol, _), members in zip(places, replies, strict=True):
            # The shared key comes first; a user's is looked at where it has not enough.
            if len(found[symbol]) < count and members:
                found[symbol] = members
        return {
            symbol: [decode(member, symbol, timeframe) for member in reversed(members)]
            for symbol, members in found.items()
        }

    def _places(self, symbol: str, timeframe: Timeframe) -> list[str]:
        shared = keys.candles(self._exchange_id, symbol, timeframe)
        owner = self._owners.get(symbol)
        if owner is None:
            return [shared]
        first = int(owner.partition(",")[0])
        return [shared, keys.user_candles(first, self._exchange_id, symbol, timeframe)]

    async def place(self, owners: Mapping[str, Sequence[int]]) -> int:
        """From now on these symbols' candles live in the keys of their users, all others' in the shared ones.

        What is held moves along in one call, without a hole and without a close; how many series moved. For
        the exchange's instance alone: it knows what is monitored for whom.
        """
        before = await self.owned()
        wanted = {symbol: ",".join(map(str, ids)) for symbol, ids in owners.items() if ids}
        moves = [
            (symbol, wanted.get(symbol, ""))
            for symbol in sorted({*before, *wanted})
            if before.get(symbol, "") != wanted.get(symbol, "")
        ]
        if not moves:
            return 0
        timeframes = [timeframe.value for timeframe in Timeframe]
        head: list[str | int] = [
            self._exchange_id,
            self._size,
            USER_KEYS_LIVE_S,
            len(timeframes),
            *timeframes,
        ]
        tail = [word for move in moves for word in move]
        return int(
            cast(
                "Any", await self._placing(keys=[keys.candle_owners(self._exchange_id)], args=[*head, *tail])
            )
        )

    async def owned(self) -> dict[str, str]:
        """Symbol → ids of the users in whose keys its candles live, with commas."""
        found = await cast("Any", self._client.hgetall(keys.candle_owners(self._exchange_id)))
        return cast("dict[str, str]", found)

    async def keep_owned(self) -> None:
        """Users' keys live on though nothing is written to them (a day's candle comes once a day)."""
        owners = await self.owned()
        pipe = self._client.pipeline(transaction=False)
        for symbol, ids in owners.items():
            for timeframe in Timeframe:
                for user_id in ids.split(","):
                    name = keys.user_candles(int(user_id), self._exchange_id, symbol, timeframe)
                    pipe.expire(name, USER_KEYS_LIVE_S)
        await pipe.execute()

    async def welcome(self, symbols: Iterable[str]) -> None:
        """Of these symbols candles are kept again. For the exchange's instance alone, as `place`."""
        wanted = list(symbols)
        if wanted:
            await cast("Any", self._client.srem(keys.symbols_gone(self._exchange_id), *wanted))

    async def dismiss(self, symbols: Iterable[str]) -> None:
        """Of these symbols nothing is kept from now on: a run that began while they were monitored, and
        brings their candles later, makes no key anew. What is there already stays until it is removed."""
        wanted = list(symbols)
        if wanted:
            await cast("Any", self._client.sadd(keys.symbols_gone(self._exchange_id), *wanted))

    async def names(self, symbols: Iterable[str], timeframes: Iterable[Timeframe]) -> list[str]:
        """Every key that holds, or may hold, candles of these series."""
        wanted, frames = list(dict.fromkeys(symbols)), list(timeframes)
        owners = await self.owned()
        found = [keys.candles(self._exchange_id, symbol, frame) for symbol in wanted for frame in frames]
        for symbol in wanted:
            ids = [int(one) for one in owners.get(symbol, "").split(",") if one]
            found += [
                keys.user_candles(one, self._exchange_id, symbol, frame) for one in ids for frame in frames
            ]
        return found
