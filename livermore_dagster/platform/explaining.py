"""Gathers what is known of one series from Redis and PostgreSQL, for market.explanation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, cast

from psycopg import AsyncConnection
from redis.asyncio import Redis

from livermore_dagster.accounts.settings import UserSettings, load_active
from livermore_dagster.accounts.wishes import timeframes_of
from livermore_dagster.control.registry import InstanceView
from livermore_dagster.ingest.series_fold import SeriesFold
from livermore_dagster.market.candle import Rank
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.known_series import AlertFacts, KnownSeries
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.alerts import StoredAlert, read_alerts
from livermore_dagster.stores.postgres.asked_ranges import read_asked_ranges
from livermore_dagster.stores.postgres.candles import CandleTable
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.postgres.series import first_opens
from livermore_dagster.stores.postgres.statements import sql
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.candle_cache import CACHE_SIZE, CandleCache
from livermore_dagster.stores.redis.desired import Desired, read_desired

__all__ = ["gather_series"]

COUNT_TO: Final = 10_000
ALERTS: Final = 5
WINDOW_BARS: Final = 300
"""So many of the newest bars are searched for gaps: what a value rests on."""


async def gather_series(
    redis: Redis,
    pool: Pool,
    row: ExchangeRow,
    symbol: str,
    timeframe: Timeframe,
    now_ms: int,
    view: InstanceView,
) -> KnownSeries:
    """`symbol` is canonical. `now_ms`: market time. `view`: the exchange's instance."""
    monitored, indicator, state = await _from_redis(redis, row, symbol, timeframe)
    desired = await read_desired(redis, row.id) or Desired("idle")
    cached = await CandleCache(redis, row.id).read(symbol, timeframe, CACHE_SIZE, final_only=False)
    final = [one for one in cached if one.rank is not Rank.OPEN]
    table = CandleTable(pool)
    stored = next(iter(await table.facts(row.id, [symbol], timeframe, count_to=COUNT_TO)), None)
    newest = max((one.candle.open_ms for one in final), default=stored.last_open_ms if stored else None)
    gaps = await _gaps(table, row, symbol, timeframe, newest) if newest is not None else []
    async with pool.connection() as connection:
        asked = await read_asked_ranges(connection, row.id, symbol, timeframe)
        first = (await first_opens(connection, row.id, [symbol], timeframe)).get(symbol)
        alerts = await _alerts(connection, row, symbol, timeframe)
        people = await load_active(connection)
    mutes = _mutes(people, row.name, symbol, timeframe, now_ms)
    fold = SeriesFold.from_json(symbol, timeframe, state) if state else SeriesFold(symbol, timeframe)
    rules = fold.kept[-1].rules if fold.kept else None
    return KnownSeries(
        exchange=row.name,
        symbol=symbol,
        timeframe=timeframe,
        now_ms=now_ms,
        live=timeframe in row.live_timeframes,
        streamed=timeframe in row.streamed_timeframes,
        **_instance(view, desired),
        computed=timeframe in timeframes_of(people, row.name),
        monitored=_runs(view) and symbol in monitored,
        cached=len(final),
        stored=stored.count if stored else 0,
        stored_from_ms=stored.first_open_ms if stored else None,
        stored_to_ms=stored.last_open_ms if stored else None,
        first_ms=first,
        gaps=gaps,
        absent=[(one.from_ms, one.to_ms) for one in asked if first is None or one.to_ms > first],
        **_value(indicator),
        judged=fold.watermark is not None,
        watermark_ms=fold.watermark,
        armed=rules.armed if rules else True,
        cooldowns=rules.last if rules else (),
        last_label=rules.last_label if rules else None,
        previous=fold.before_newest,
        whole_history=fold.whole_history,
        alerts=alerts,
        mutes=mutes,
    )


def _instance(view: InstanceView, desired: Desired) -> dict[str, Any]:
    status = view.claim.status if view.live and view.claim is not None else None
    last, wanted = status or view.last_known, desired.state == "running"
    error = desired.reason
    # An old error of one that is idle because somebody wants that says nothing.
    if last is not None and (wanted or view.lost is not None):
        error = last.last_error or error
    return {
        "instance_state": view.state,
        "instance_error": error or None,
        "wanted": wanted,
        "paused": status is not None and status.paused,
        "mode": desired.mode,
    }


def _runs(view: InstanceView) -> bool:
    return view.live and view.claim is not None and view.claim.status.running


async def _gaps(
    table: CandleTable, row: ExchangeRow, symbol: str, timeframe: Timeframe, newest_ms: int
) -> list[tuple[int, int]]:
    """Of the newest WINDOW_BARS."""
    start = timeframe.open_of(newest_ms) - (WINDOW_BARS - 1) * timeframe.ms
    found = await table.gaps(row.id, symbol, timeframe, start, newest_ms)
    return [(gap.from_ms, gap.to_ms) for gap in found]


async def _from_redis(
    redis: Redis, row: ExchangeRow, symbol: str, timeframe: Timeframe
) -> tuple[Sequence[str], dict[str, Any], str | None]:
    """What its instance monitors, or monitored; the newest indicator; the fold's state."""
    at = (row.id, symbol, timeframe)
    names = [keys.monitored(row.id), keys.indicator(*at), keys.indicator_state(*at)]
    monitored, indicator, state = await redis.mget(names)
    return (
        json.loads(monitored) if monitored else [],
        json.loads(indicator) if indicator else {},
        cast("str | None", state),
    )


def _value(indicator: dict[str, Any]) -> dict[str, Any]:
    if not indicator:
        return {}
    same = ("value", "signal", "histogram", "stage", "reason", "observed", "n_eff", "span_bars", "warming")
    found = {name: indicator[name] for name in same}
    return {**found, "value_open_ms": indicator["open_ms"], "unknown_bars": indicator["unknown_bars"]}


async def _alerts(
    connection: AsyncConnection[Any], row: ExchangeRow, symbol: str, timeframe: Timeframe
) -> list[AlertFacts]:
    """The newest few, newest first, with what became of their notifications."""
    found = await read_alerts(connection, exchange=row.name, symbol=symbol, timeframe=timeframe, limit=ALERTS)
    told = await _deliveries(connection, [one.alert.id for one in found])
    return [_facts(one, told.get(one.alert.id, ())) for one in reversed(found)]


def _facts(stored: StoredAlert, deliveries: Sequence[tuple[str, str, str]]) -> AlertFacts:
    alert = stored.alert
    return AlertFacts(
        label=alert.label,
        candle_end_ms=alert.candle_end_ms,
        macdv=alert.macdv,
        late=alert.late,
        revised=alert.revised,
        withdrawn=stored.withdrawn_ms is not None,
        published=stored.published_ms is not None,
        deliveries=tuple(deliveries),
    )


async def _deliveries(
    connection: AsyncConnection[Any], ids: Sequence[int]
) -> dict[int, list[tuple[str, str, str]]]:
    """Per alert: channel, state, and why."""
    rows = await (await connection.execute(sql("read_alert_deliveries"), {"ids": list(ids)})).fetchall()
    found: dict[int, list[tuple[str, str, str]]] = {}
    for alert_id, channel, state, why in rows:
        found.setdefault(alert_id, []).append((channel, state, why or ""))
    return found


def _mutes(
    people: Sequence[UserSettings], exchange: str, symbol: str, timeframe: Timeframe, now_ms: int
) -> list[str]:
    """What keeps users from being told of this series, in words."""
    found = []
    for user in people:
        alerts = user.document.alerts
        if not alerts.enabled:
            found.append(f"{user.display_name} has switched notifications off")
            continue
        for mute in alerts.mutes:
            if mute.silences(exchange, symbol, timeframe, now_ms):
                named = (mute.exchange, mute.symbol, mute.timeframe)
                what = ", ".join(str(name) for name in named if name is not None)
                found.append(f"{user.display_name} has muted {what}")
    return found
