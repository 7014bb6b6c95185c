"""The newest MACD-V of every series, and what its fold needs to go on after a restart.

`commit` is step (2) of an alert's way: indicators, states with rule flags and watermark, announcements and
the acknowledgement of the closes they came from, in one Lua call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis.asyncio

from livermore_dagster.errors import ClaimLost
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.scripts import lua

__all__ = ["IndicatorCache", "SeriesKey", "SeriesUpdate"]

SeriesKey = tuple[str, Timeframe]


@dataclass(frozen=True, slots=True)
class SeriesUpdate:
    """`indicator`: JSON kept and published as it is, '' to leave the value alone. `state`: JSON."""

    symbol: str
    timeframe: Timeframe
    indicator: str
    state: str


class IndicatorCache:
    """Indicators of one exchange in Redis."""

    def __init__(self, client: redis.asyncio.Redis, exchange_id: int, token: str = "") -> None:
        """`token`: of the claim under which it is written; '' asks for none."""
        self._client = client
        self._exchange_id = exchange_id
        self._token = token
        self._script = client.register_script(lua("commit_signals"))

    async def commit(self, updates: Sequence[SeriesUpdate], entry_ids: Iterable[str]) -> int:
        """Keeps and publishes `updates`, acknowledges the closes; how many of these were acknowledged.

        Of symbols that are gone (CandleCache.dismiss) nothing is kept.

        Raises ClaimLost, and does nothing, when the exchange's claim is not the token's.
        """
        exchange_id = self._exchange_id
        names = [keys.closes(exchange_id), keys.status(exchange_id), keys.symbols_gone(exchange_id)]
        heads: list[str | int] = [self._token, keys.CLOSES_GROUP_SIGNALS, len(updates)]
        for update in updates:
            at = (self._exchange_id, update.symbol, update.timeframe)
            names += (keys.indicator(*at), keys.indicator_state(*at))
            heads += (update.symbol, update.indicator, update.state, keys.channel_indicator(*at))
        acknowledged = int(cast("int", await self._script(keys=names, args=[*heads, *entry_ids])))
        if acknowledged < 0:
            raise ClaimLost("The claim under which signals are kept is another's, or has run out.")
        return acknowledged

    async def states(self, series: Sequence[SeriesKey]) -> dict[SeriesKey, str]:
        """State texts of those series that have one."""
        return await self._get(series, keys.indicator_state)

    async def news_from(self, series: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
        """Exchange ms from when on closes of series are news, where that is known: when the symbol's history
        first was there, or, if that was later, since when signals are computed of the timeframe."""
        if not series:
            return {}
        symbols = sorted({symbol for symbol, _ in series})
        async with self._client.pipeline(transaction=False) as pipe:
            cast("Any", pipe).hmget(keys.warmed(self._exchange_id), symbols)
            cast("Any", pipe).hgetall(keys.computed(self._exchange_id))
            found, since = await pipe.execute()
        warmed = dict(zip(symbols, found, strict=True))
        known = ((key, warmed[key[0]], since.get(key[1].value)) for key in series)
        return {key: max(int(warm), int(begun)) for key, warm, begun in known if warm and begun}

    async def read(self, series: Sequence[SeriesKey]) -> dict[SeriesKey, dict[str, Any]]:
        """Newest indicator of those series that have one, as it was published."""
        texts = await self._get(series, keys.indicator)
        return {key: json.loads(text) for key, text in texts.items()}

    async def _get(self, series: Sequence[SeriesKey], name: Any) -> dict[SeriesKey, str]:
        wanted = list(dict.fromkeys(series))
        if not wanted:
            return {}
        texts = await self._client.mget([name(self._exchange_id, *key) for key in wanted])
        return {key: str(text) for key, text in zip(wanted, texts, strict=True) if text}
