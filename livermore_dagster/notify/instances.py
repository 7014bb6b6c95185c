"""Tells admins of an exchange whose instance has gone without a word, of its return, of its move (N6).

A watchdog over heartbeats: a dead process publishes nothing, so its claim is looked at as often as it is
renewed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from livermore_dagster.clock import Clock
from livermore_dagster.control.registry import InstanceView, note_offline, read_instance
from livermore_dagster.control.status import HEARTBEAT_S, InstanceStatus
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.notify.text import DOWN_COLOUR, UP_COLOUR, Notice, plain_notice
from livermore_dagster.stores.redis.client import connect

__all__ = ["Attendance", "watch_instances"]

_LOOKS: Final = 4
"""Gone at so many looks in a row: what the keeper starts anew within a minute is not told."""


class Attendance:
    """What was told of each exchange."""

    def __init__(self, *, simulated: bool) -> None:
        self._simulated = simulated
        self._gone: dict[int, int] = {}
        self._holders: dict[int, InstanceStatus] = {}

    def look(self, view: InstanceView) -> Notice | None:
        """A notice when an instance has gone for good, is back after that, or another home holds it."""
        moved = self._moved(view)
        if moved is not None:
            self._gone.pop(view.exchange_id, None)
            return moved
        missed = self._gone.get(view.exchange_id, 0)
        if view.state != "offline":
            self._gone.pop(view.exchange_id, None)
            if missed < _LOOKS:
                return None
            title = f"{view.exchange_name} is back: {view.state}"
            return plain_notice(title, "Its alerts go on.", simulated=self._simulated, colour=UP_COLOUR)
        self._gone[view.exchange_id] = missed + 1
        if missed + 1 != _LOOKS or view.last_known is None:
            return None
        last = view.last_known
        seen = datetime.fromtimestamp(last.last_heartbeat / 1000, UTC)
        was = f"Its instance on {last.hostname} was {last.connection_state.value}"
        text = f"{was}, last heard of {seen:%H:%M:%S} UTC."
        if last.last_error:
            text += f" It said: {last.last_error}"
        return plain_notice(
            f"{view.exchange_name} is offline", text, simulated=self._simulated, colour=DOWN_COLOUR
        )

    def _moved(self, view: InstanceView) -> Notice | None:
        """Another home's instance holds the exchange now."""
        if not view.live or view.claim is None:
            return None
        now = view.claim.status
        before = self._holders.get(view.exchange_id)
        self._holders[view.exchange_id] = now
        if before is None or before.home == now.home:
            return None
        title = f"{view.exchange_name} has moved to {now.hostname}"
        heard = datetime.fromtimestamp(before.last_heartbeat / 1000, UTC)
        text = (
            f"{now.place} holds it now. Before it {before.place} did, last seen there {heard:%H:%M:%S} UTC."
        )
        return plain_notice(title, text, simulated=self._simulated, colour=UP_COLOUR)


async def watch_instances(
    redis_url: str,
    rows: Iterable[ExchangeRow],
    say: Callable[[Notice], None],
    clock: Clock,
    *,
    simulated: bool,
) -> None:
    """Looks once a heartbeat. Ends by raising."""
    attendance = Attendance(simulated=simulated)
    client = await asyncio.to_thread(connect, redis_url)
    try:
        while True:
            for row in rows:
                view = await asyncio.to_thread(read_instance, client, row.id, row.name)
                await asyncio.to_thread(note_offline, client, view, clock.now_ms())
                notice = attendance.look(view)
                if notice is not None:
                    say(notice)
            await clock.sleep(HEARTBEAT_S)
    finally:
        client.close()
