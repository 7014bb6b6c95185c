"""Decides what becomes of each stored alert for each user, once, in one transaction with the deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from zoneinfo import ZoneInfo

import redis.asyncio

from livermore_dagster.accounts.settings import UserSettings
from livermore_dagster.clock import Clock
from livermore_dagster.notify import rules
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.postgres.deliveries import (
    HeardAlert,
    NewDelivery,
    Place,
    ToldAlert,
    mark_routed,
    read_told,
    store_deliveries,
    take_unrouted,
)
from livermore_dagster.stores.redis import keys

__all__ = ["ExchangeClocks", "Left", "Routed", "Router", "route"]

_BATCH: Final = 200
_WINDOW_MS: Final = 86_400_000
"""The longest cooldown there is."""


Left = Literal["nothing", "more", "held"]


@dataclass(frozen=True, slots=True)
class Routed:
    """`places` have something to do. `left`: 'held' is what somebody is just writing to, in a moment free."""

    places: set[Place]
    left: Left


class ExchangeClocks:
    """Each exchange's clock as far as it is known here: by its newest alert and by what has settled."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client
        self._newest: dict[int, int] = {}

    def now_ms(self, exchange_id: int) -> int:
        """0 where nothing is known yet."""
        return self._newest.get(exchange_id, 0)

    async def learn(self, exchange_ids: Sequence[int]) -> None:
        if not exchange_ids:
            return
        found = await self._redis.mget([keys.settled(exchange_id) for exchange_id in exchange_ids])
        for exchange_id, text in zip(exchange_ids, found, strict=True):
            self.heard(exchange_id, int(text) if text else 0)

    def heard(self, exchange_id: int, at_ms: int) -> None:
        self._newest[exchange_id] = max(at_ms, self.now_ms(exchange_id))


class Router:
    """Judges alerts under the settings it was last given."""

    def __init__(self, pool: Pool, clocks: ExchangeClocks, clock: Clock, *, simulated: bool) -> None:
        self._pool = pool
        self._clocks = clocks
        self._clock = clock
        self._simulated = simulated
        self.users: Sequence[UserSettings] = ()

    async def route_some(self) -> Routed:
        """Judges what has waited longest."""
        async with self._pool.connection() as connection:
            heard = await take_unrouted(connection, _BATCH)
            if not heard:
                return Routed(set(), "nothing")
            await self._clocks.learn(sorted({one.exchange_id for one in heard}))
            for one in heard:
                self._clocks.heard(one.exchange_id, one.alert.triggered_ms)
            now_ms = self._clock.now_ms()
            # Marked first: what is left out for now must mute none of the others.
            free = await mark_routed(connection, heard, now_ms)
            told = await read_told(connection, [one.alert.id for one in free], _WINDOW_MS)
            new = route(self.users, free, told, self._clocks, simulated=self._simulated)
            await store_deliveries(connection, new, now_ms)
        places = {one.place for one in new if one.state == "pending"}
        left: Left = "held" if len(free) < len(heard) else "more" if len(heard) == _BATCH else "nothing"
        return Routed(places, left)


def route(
    users: Sequence[UserSettings],
    heard: Sequence[HeardAlert],
    told: Sequence[ToldAlert],
    clocks: ExchangeClocks,
    *,
    simulated: bool,
) -> list[NewDelivery]:
    """One delivery for each alert and channel; the first alerts of a batch are told before the later ones."""
    found: list[NewDelivery] = []
    for user in users:
        alerts = user.document.alerts
        channels = [channel.name for channel in alerts.channels if channel.enabled]
        if not channels:
            continue
        zone = ZoneInfo(user.document.profile.time_zone)
        mine = [one for one in told if one.user_id == user.user_id]
        for one in heard:
            now_ms = clocks.now_ms(one.exchange_id)
            verdict = rules.judge(alerts, zone, one, mine, now_ms, simulated=simulated)
            if verdict.state == "pending":
                mine.append(_told(user.user_id, one))
            found += [
                NewDelivery(
                    one.alert.id, Place(user.user_id, channel), verdict.form, verdict.state, verdict.reason
                )
                for channel in channels
            ]
    return found


def _told(user_id: int, heard: HeardAlert) -> ToldAlert:
    alert = heard.alert
    return ToldAlert(
        user_id, heard.exchange_id, alert.symbol, alert.timeframe, alert.label, alert.kind, alert.direction,
        alert.open_ms, alert.candle_end_ms,
    )  # fmt: skip
