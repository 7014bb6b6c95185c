"""The channels at work: opened and closed as the settings say, at once, without a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import redis.asyncio
import structlog

from livermore_dagster.accounts.settings import UserSettings, load_active
from livermore_dagster.accounts.settings_document import AlertSettings, ChannelSettings
from livermore_dagster.clock import Clock
from livermore_dagster.exchanges.factory import dialect_for
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.notify import rules
from livermore_dagster.notify.channel import Refused, address_of
from livermore_dagster.notify.discord import Gates
from livermore_dagster.notify.illustrator import Illustrator
from livermore_dagster.notify.keeping import keep
from livermore_dagster.notify.opening import open_channel
from livermore_dagster.notify.painter import ChartFailed, Painter
from livermore_dagster.notify.router import ExchangeClocks
from livermore_dagster.notify.text import Notice
from livermore_dagster.notify.worker import ChannelWorker
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.postgres.deliveries import Place, expire_deliveries

__all__ = ["Company"]

_log = structlog.get_logger(__name__)
_OLD_MS: Final = 86_400_000
"""What could not be sent for a day is not sent any more."""
_LEAVE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Post:
    worker: ChannelWorker
    task: asyncio.Task[None]


class Company:
    """One worker per user and channel."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        pool: Pool,
        painter: Painter,
        clocks: ExchangeClocks,
        clock: Clock,
        *,
        simulated: bool,
        changed: Callable[[], None],
    ) -> None:
        self._redis = client
        self._pool = pool
        self._clocks = clocks
        self._clock = clock
        self._simulated = simulated
        self._changed = changed
        self._gates = Gates(clock)
        self._painter = painter
        self._warming: asyncio.Task[None] | None = None
        self._illustrator = Illustrator(client, pool, painter, simulated=simulated)
        self._posts: dict[Place, _Post] = {}
        self._users: dict[int, UserSettings] = {}
        self._wanted: frozenset[Place] = frozenset()
        """Places of the settings; one that is only being opened anew has no post for a moment."""
        self.rows: Mapping[str, ExchangeRow] = {}

    async def take_settings(self) -> list[UserSettings]:
        """Reads everybody's settings anew, and works under them from now on."""
        async with self._pool.connection() as connection:
            users = await load_active(connection)
        # Who is gone stays known until his workers have ended: they may still ask for his settings.
        self._users |= {user.user_id: user for user in users}
        wanted = {
            Place(user.user_id, channel.name): channel
            for user in users
            for channel in user.document.alerts.channels
            if channel.enabled
        }
        self._wanted = frozenset(wanted)
        changed = [place for place, post in self._posts.items() if wanted.get(place) != post.worker.settings]
        await asyncio.gather(*(self._end(place) for place in changed))
        self._users = {user.user_id: user for user in users}
        for place, settings in wanted.items():
            if place not in self._posts:
                self._begin(place, settings)
            # What was muted meanwhile is sifted out now, what is due is sent.
            self._posts[place].worker.wake()
        await self.expire()
        if self._warming is None and any(settings.chart for settings in wanted.values()):
            # So that the first alert has its chart in time; where nobody wants charts nothing is imported.
            self._warming = asyncio.create_task(self._warm())
        self._changed()
        _log.info("settings_taken", users=len(users), channels=len(wanted))
        return users

    async def _warm(self) -> None:
        try:
            await self._painter.warm()
        except ChartFailed as error:
            _log.warning("painter_cold", error=str(error))

    def wake(self, places: Collection[Place]) -> None:
        for place in places:
            if place in self._posts:
                self._posts[place].worker.wake()

    def wake_all(self) -> None:
        self.wake([*self._posts])

    def say_to_admins(self, notice: Notice) -> None:
        """To every channel of every admin who wants to hear of this platform's data, and at this hour."""
        for place, post in self._posts.items():
            user = self._users.get(place.user_id)
            if user is None or user.role != "admin":
                continue
            alerts = user.document.alerts
            zone = ZoneInfo(user.document.profile.time_zone)
            quiet = rules.is_quiet(alerts.quiet_hours, zone, self._clock.now_ms())
            if alerts.enabled and not quiet and (alerts.simulated or not self._simulated):
                post.worker.say(notice)

    async def expire(self) -> None:
        """Ends what waits for a channel that is gone, or has waited for a day."""
        async with self._pool.connection() as connection:
            ended = await expire_deliveries(connection, self._wanted, self._clock.now_ms() - _OLD_MS)
        if ended:
            _log.warning("deliveries_expired", count=ended)

    def states(self) -> list[dict[str, Any]]:
        """Each channel as `status` shows it."""
        return [
            {
                "user": self._users[place.user_id].sub,
                "channel": place.channel,
                "kind": post.worker.settings.kind,
                "url_env": post.worker.settings.url_env,
                "addressed": not isinstance(address_of(post.worker.settings.url_env), Refused),
                **asdict(post.worker.state),
            }
            for place, post in sorted(
                self._posts.items(), key=lambda item: (item[0].user_id, item[0].channel)
            )
        ]

    async def write_state(self, key: str, facts: Mapping[str, Any], ttl_s: int) -> None:
        await self._redis.set(key, json.dumps(facts), ex=ttl_s)

    async def close(self) -> None:
        if self._warming is not None:
            self._warming.cancel()
        await asyncio.gather(*(self._end(place) for place in [*self._posts]))

    def exchange_named(self, exchange_id: int | None) -> str | None:
        return next((row.display_name for row in self.rows.values() if row.id == exchange_id), None)

    def _begin(self, place: Place, settings: ChannelSettings) -> None:
        worker = ChannelWorker(
            place,
            settings,
            lambda: self._wishes_of(place.user_id),
            open_channel(settings, self._gates),
            self._pool,
            self._illustrator,
            self._page_url,
            self._clocks,
            self._clock,
            simulated=self._simulated,
            told=self._changed,
        )
        name = f"channel {place.channel} of user {place.user_id}"
        task = asyncio.create_task(keep(name, worker.run, self._clock), name=name)
        self._posts[place] = _Post(worker, task)

    async def _end(self, place: Place) -> None:
        post = self._posts.pop(place)
        # What is being sent is noted first, where that is soon: else it would be sent once more.
        post.worker.leave()
        _, slow = await asyncio.wait({post.task}, timeout=_LEAVE_S)
        for task in slow:
            task.cancel()
            await asyncio.wait({task})
        await post.worker.close()

    def _wishes_of(self, user_id: int) -> tuple[AlertSettings, ZoneInfo]:
        document = self._users[user_id].document
        return document.alerts, ZoneInfo(document.profile.time_zone)

    def _page_url(self, exchange: str, symbol: str) -> str:
        return dialect_for(self.rows[exchange]).page_url(symbol)
