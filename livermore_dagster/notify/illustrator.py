"""The chart of an alert: its bars read, its values computed, painted once for all channels that want it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import psycopg
import redis.asyncio
from redis.exceptions import RedisError

from livermore_dagster.market.candle import Candle, StampedCandle
from livermore_dagster.market.macdv import PUBLISH_FROM, batch
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.notify.chart_request import ChartRequest
from livermore_dagster.notify.painter import ChartFailed, Painter
from livermore_dagster.notify.text import chart_titles
from livermore_dagster.stores.postgres.candles import CandleTable
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.postgres.deliveries import HeardAlert
from livermore_dagster.stores.redis.candle_cache import CandleCache

__all__ = ["CHART_S", "Illustrator", "request_of"]

CHART_S: Final = 1.0
"""An alert waits for its chart no longer than this."""
BARS: Final = 420
"""Read for one chart: 120 are shown, 300 let the seed of MACD-V vanish."""
_KEPT: Final = 16


class Illustrator:
    """Charts by alert; the last few are kept, for another channel or another attempt."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        pool: Pool,
        painter: Painter,
        *,
        simulated: bool,
        within_s: float = CHART_S,
    ) -> None:
        self._redis = client
        self._pool = pool
        self._painter = painter
        self._simulated = simulated
        self._within_s = within_s
        self._painting: OrderedDict[int, asyncio.Task[bytes]] = OrderedDict()

    async def chart(self, heard: HeardAlert) -> bytes:
        """PNG. Raises ChartFailed, soon."""
        alert_id = heard.alert.id
        painting = self._painting.get(alert_id)
        if painting is None or (painting.done() and painting.exception() is not None):
            painting = asyncio.create_task(self._paint(heard))
            painting.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._painting[alert_id] = painting
            if len(self._painting) > _KEPT:
                self._painting.popitem(last=False)
        # Another channel may be waiting for the same picture when this one is taken out.
        return await asyncio.shield(painting)

    async def _paint(self, heard: HeardAlert) -> bytes:
        try:
            async with asyncio.timeout(self._within_s):
                bars = await self._bars(heard)
        except TimeoutError:
            raise ChartFailed("its bars could not be read in time") from None
        except (RedisError, psycopg.Error, OSError) as error:
            raise ChartFailed(f"its bars could not be read ({type(error).__name__})") from None
        if not bars:
            raise ChartFailed("its bars are no longer stored")
        if bars[-1].open_ms != heard.alert.open_ms:
            # The marker would stand at another bar.
            raise ChartFailed("its own bar is not stored")
        request = request_of(heard, bars, simulated=self._simulated)
        return await self._painter.paint(request, self._within_s)

    async def _bars(self, heard: HeardAlert) -> list[Candle]:
        """Up to the alert's own candle and not one further: a late alert shows what was known then."""
        alert, until_ms = heard.alert, heard.alert.open_ms + 1
        cache = CandleCache(self._redis, heard.exchange_id)
        found: Sequence[StampedCandle] = await cache.read(
            alert.symbol, alert.timeframe, BARS, until_ms=until_ms
        )
        if not found or found[-1].candle.open_ms != alert.open_ms:
            table = CandleTable(self._pool)
            found = await table.read(
                heard.exchange_id, alert.symbol, alert.timeframe, 0, until_ms, BARS, newest=True
            )
        return [one.candle for one in found]


def request_of(heard: HeardAlert, bars: Sequence[Candle], *, simulated: bool) -> ChartRequest:
    """What the painter needs of an alert and its bars, oldest first."""
    alert = heard.alert
    columns: dict[str, Any] = {name: [float(getattr(bar, name)) for bar in bars] for name in _NUMBERS}
    title, subtitle = chart_titles(heard)
    macdv, signal = _values([bar.open_ms for bar in bars], columns, alert.timeframe)
    return ChartRequest(
        title=title,
        subtitle=subtitle,
        up=alert.direction == "up",
        tf_ms=alert.timeframe.ms,
        open_ms=[bar.open_ms for bar in bars],
        macdv=macdv,
        signal=signal,
        value=alert.macdv,
        simulated=simulated,
        **columns,
    )


_NUMBERS: Final = ("open", "high", "low", "close", "volume")


def _values(
    open_ms: list[int], columns: dict[str, Any], timeframe: Timeframe
) -> tuple[list[float | None], list[float | None]]:
    """MACD-V and its signal, from the bar on at which they are published (R12)."""
    found = batch(open_ms, columns["high"], columns["low"], columns["close"], columns["volume"], timeframe)
    shown = [n_eff >= PUBLISH_FROM for n_eff in found.n_eff.tolist()]

    def column(values: list[float]) -> list[float | None]:
        return [value if keep and value == value else None for value, keep in zip(values, shown, strict=True)]

    return column(found.macdv.tolist()), column(found.signal.tolist())
