"""What an exchange's instance shall be: running or stopped, and with which symbols."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import redis
import redis.asyncio

from livermore_dagster.stores.redis import keys

__all__ = [
    "Desired",
    "SymbolChoice",
    "give_up_desired",
    "read_desired",
    "read_desired_sync",
    "stop_desired_sync",
    "write_desired",
    "write_desired_sync",
]


@dataclass(frozen=True, slots=True)
class SymbolChoice:
    """The exchange's top `top` by volume, or the `listed` symbols (then `top` is None)."""

    top: int | None = None
    listed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Desired:
    """Set by a start or stop. `user`: who wanted it; `reason`: why it stopped where nobody wanted that."""

    state: Literal["running", "stopped"]
    symbols: SymbolChoice = field(default_factory=SymbolChoice)
    user: str = ""
    reason: str = ""


def _encode(desired: Desired) -> str:
    return json.dumps(
        {
            "state": desired.state,
            "symbols": {"top": desired.symbols.top, "listed": list(desired.symbols.listed)},
            "user": desired.user,
            "reason": desired.reason,
        }
    )


def _decode(text: str | None) -> Desired | None:
    if not text:
        return None
    fields = json.loads(text)
    choice = SymbolChoice(fields["symbols"]["top"], tuple(fields["symbols"]["listed"]))
    return Desired(fields["state"], choice, fields["user"], fields.get("reason", ""))


async def read_desired(client: redis.asyncio.Redis, exchange_id: int) -> Desired | None:
    """None when nobody ever started or stopped this exchange."""
    return _decode(cast("str | None", await cast("Any", client.get(keys.desired(exchange_id)))))


async def write_desired(client: redis.asyncio.Redis, exchange_id: int, desired: Desired) -> None:
    await client.set(keys.desired(exchange_id), _encode(desired))


async def give_up_desired(
    client: redis.asyncio.Redis, exchange_id: int, wanted: Desired, reason: str
) -> bool:
    """Stops, with words, what cannot be had as `wanted`; False when something else is wanted meanwhile."""
    key = keys.desired(exchange_id)
    async with client.pipeline(transaction=True) as pipe:
        await pipe.watch(key)
        if _decode(cast("str | None", await cast("Any", pipe.get(key)))) != wanted:
            return False
        pipe.multi()  # type: ignore[no-untyped-call]
        pipe.set(key, _encode(replace(wanted, state="stopped", reason=reason)))
        try:
            await pipe.execute()
        except redis.WatchError:
            return False
    return True


def read_desired_sync(client: redis.Redis, exchange_id: int) -> Desired | None:
    """`read_desired` for sensors, the keeper and commands."""
    return _decode(cast("str | None", client.get(keys.desired(exchange_id))))


def write_desired_sync(client: redis.Redis, exchange_id: int, desired: Desired) -> None:
    client.set(keys.desired(exchange_id), _encode(desired))


def stop_desired_sync(client: redis.Redis, exchange_id: int, user: str) -> None:
    """From now on it shall not run; its symbols stay chosen for the next start."""
    known = read_desired_sync(client, exchange_id) or Desired("stopped")
    write_desired_sync(client, exchange_id, Desired("stopped", known.symbols, user))
