"""What wakes the notifier: published alerts and those that stand again, changed settings, incidents.

Messages only wake; tables tell.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

import redis.asyncio

from livermore_dagster.clock import Clock
from livermore_dagster.notify.company import Company
from livermore_dagster.notify.system_words import Conflation
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.metrics import read_incidents

__all__ = ["listen_to_incidents", "listen_to_messages"]

_QUIET_S: Final = 10.0
_BLOCK_MS: Final = 10_000


async def listen_to_messages(
    client: redis.asyncio.Redis, alerts: asyncio.Event, settings: asyncio.Event
) -> None:
    """Sets `alerts` and `settings` when there may be new ones; both once it listens. Ends by raising."""
    pubsub = cast("Any", client.pubsub())
    try:
        await pubsub.psubscribe(keys.CHANNEL_ALERTS_ALL)
        await pubsub.subscribe(keys.CHANNEL_SETTINGS, keys.CHANNEL_ALERTS_AGAIN)
        answered = True
        while True:
            message = await pubsub.get_message(timeout=_QUIET_S)
            if message is None:
                if not answered:
                    raise ConnectionError("Redis fell silent")
                # A connection that is gone without a word would be silent for ever.
                await pubsub.ping()
                answered = False
                continue
            answered = True
            match message["type"]:
                case "pmessage" | "psubscribe":
                    alerts.set()
                case "message" | "subscribe":
                    (settings if message["channel"] == keys.CHANNEL_SETTINGS else alerts).set()
    finally:
        await pubsub.aclose()


async def listen_to_incidents(
    client: redis.asyncio.Redis, company: Company, clock: Clock, *, simulated: bool
) -> None:
    """Tells admins of errors, each once: what was looked at is kept in Redis."""
    conflation = Conflation(clock, simulated=simulated)
    seen = await client.get(keys.NOTIFIER_INCIDENT)
    if seen is None:
        newest = cast("Any", await client.xrevrange(keys.INCIDENTS, count=1))
        seen = newest[0][0] if newest else "0"
        await client.set(keys.NOTIFIER_INCIDENT, seen)
    while True:
        await client.xread({keys.INCIDENTS: seen}, count=1, block=_BLOCK_MS)
        found = await read_incidents(client, cast("str", seen))
        for incident in found:
            notice = conflation.notice(incident, company.exchange_named(incident.exchange_id))
            if notice is not None:
                company.say_to_admins(notice)
        if found:
            seen = found[-1].entry_id
            await client.set(keys.NOTIFIER_INCIDENT, seen)
