"""How notifications fare: what the notifier says of itself, joined with what its table says."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any, cast

import psycopg
import redis.asyncio
from psycopg import AsyncConnection

from livermore_dagster.platform.config import Settings
from livermore_dagster.stores.postgres.connect import conninfo, no_answer
from livermore_dagster.stores.postgres.deliveries import read_counts
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect_async

__all__ = [
    "channel_troubles",
    "gather_notifications",
    "join_notifications",
    "read_notifications",
    "unseen_variables",
]

DAY_MS = 86_400_000
_NOTHING = {"pending": 0, "waiting_since_ms": None, "sent": 0, "failed": 0, "not_told": 0}


async def read_notifications(connection: AsyncConnection[Any], client: redis.asyncio.Redis) -> dict[str, Any]:
    """{notifier: {pid, hostname, at_ms} or None, channels: […]}; counts are of the last 24 hours."""
    text = cast("str | None", await client.get(keys.NOTIFIER))
    counts = await read_counts(connection, time.time_ns() // 1_000_000 - DAY_MS)
    return join_notifications(text, {(one.sub, one.channel): asdict(one) for one in counts})


def join_notifications(text: str | None, counts: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    """`text`: the notifier's own state, None where none is at work."""
    state = json.loads(text) if text else None
    live = {(one["user"], one["channel"]): one for one in (state["channels"] if state else [])}
    channels = []
    for user, channel in sorted({*live, *counts}):
        kept = {**_NOTHING, **counts.get((user, channel), {})}
        own = live.get((user, channel))
        kept.pop("sub", None)
        kept["last_sent_ms"] = kept.get("last_sent_ms") or (own or {}).get("last_sent_ms")
        kept["last_error"] = (own or {}).get("last_error") or kept.get("last_error")
        shown = own["state"] if own else "gone" if state else "no notifier"
        if own and not own["addressed"]:
            shown = "no address"
            kept["last_error"] = f"{own['url_env']} is not set where the notifier runs"
        channels.append({**kept, "user": user, "channel": channel, "state": shown})
    facts = {name: state[name] for name in ("pid", "hostname", "at_ms")} if state else None
    return {"notifier": facts, "channels": channels}


async def gather_notifications(settings: Settings) -> dict[str, Any]:
    """`read_notifications` over connections of its own."""
    client = connect_async(settings.redis_url)
    try:
        address = conninfo(settings.database_url, settings.database_ca)
        async with await psycopg.AsyncConnection.connect(address, connect_timeout=5) as connection:
            return await read_notifications(connection, client)
    except psycopg.OperationalError as error:
        raise no_answer(error) from None
    finally:
        await client.aclose()


def channel_troubles(notifications: dict[str, Any]) -> list[str]:
    """A line for each channel that does not do its work."""
    found = []
    for one in notifications["channels"]:
        waits = f"; {one['pending']} alerts wait" if one["pending"] else ""
        name = f"channel {one['channel']} of {one['user']}"
        if one["state"] in ("waiting", "refused", "no address"):
            found.append(f"{name}: {one['state']}: {one['last_error']}{waits}")
        elif one["state"] == "no notifier" and one["pending"]:
            found.append(f"{name}: no notifier is at work{waits}")
    return found


async def unseen_variables(client: redis.asyncio.Redis, sub: str) -> list[str]:
    """Variables of a user's channels that are not set where the notifier runs."""
    text = cast("str | None", await client.get(keys.NOTIFIER))
    channels = json.loads(text)["channels"] if text else []
    return sorted({one["url_env"] for one in channels if one["user"] == sub and not one["addressed"]})
