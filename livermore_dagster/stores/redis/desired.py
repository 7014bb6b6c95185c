"""What an exchange's instance shall be: running, idle or stopped; with which symbols, in which mode."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, cast

import redis
import redis.asyncio

from livermore_dagster.stores.redis import keys

__all__ = [
    "MODES",
    "Desired",
    "Mode",
    "SymbolChoice",
    "change_desired",
    "change_desired_sync",
    "give_up_desired",
    "read_desired",
    "read_desired_sync",
    "stop_desired_sync",
    "write_desired_sync",
]

Mode = Literal["position-monitor", "scalper-macdv"]
MODES: Final[tuple[Mode, ...]] = ("position-monitor", "scalper-macdv")


@dataclass(frozen=True, slots=True)
class SymbolChoice:
    """The exchange's top `top` by volume, or the `listed` symbols (then `top` is None)."""

    top: int | None = None
    listed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Desired:
    """Set by a start or stop; survives every process.

    'idle': registered and commandable, without a socket to the exchange; 'stopped': no process at all.
    `user`: who wanted it; `reason`: why it is idle where nobody wanted that. `paused`: running, but its
    sockets closed until it is resumed.
    """

    state: Literal["running", "idle", "stopped"]
    symbols: SymbolChoice = field(default_factory=SymbolChoice)
    user: str = ""
    reason: str = ""
    mode: Mode = "scalper-macdv"
    paused: bool = False

    @property
    def present(self) -> bool:
        """Whether a process shall hold the exchange's claim."""
        return self.state != "stopped"

    @property
    def selects(self) -> tuple[SymbolChoice, Mode, str]:
        """What decides which symbols are monitored: where none are said, it is the user's top N."""
        return self.symbols, self.mode, self.user


def _encode(desired: Desired) -> str:
    return json.dumps(
        {
            "state": desired.state,
            "symbols": {"top": desired.symbols.top, "listed": list(desired.symbols.listed)},
            "user": desired.user,
            "reason": desired.reason,
            "mode": desired.mode,
            "paused": desired.paused,
        }
    )


def _decode(text: str | None) -> Desired | None:
    if not text:
        return None
    fields = json.loads(text)
    choice = SymbolChoice(fields["symbols"]["top"], tuple(fields["symbols"]["listed"]))
    return Desired(
        fields["state"],
        choice,
        fields["user"],
        fields.get("reason", ""),
        fields.get("mode", "scalper-macdv"),
        fields.get("paused", False),
    )


async def read_desired(client: redis.asyncio.Redis, exchange_id: int) -> Desired | None:
    """None when nobody ever started or stopped this exchange."""
    return _decode(cast("str | None", await cast("Any", client.get(keys.desired(exchange_id)))))


async def change_desired(
    client: redis.asyncio.Redis, exchange_id: int, change: Callable[[Desired], Desired]
) -> Desired:
    """Replaces what is wanted by `change` of it, whoever else changes it meanwhile; what is wanted now.

    Where nothing ever was wanted, idle is changed.
    """
    key = keys.desired(exchange_id)
    while True:
        async with client.pipeline(transaction=True) as pipe:
            await pipe.watch(key)
            known = _decode(cast("str | None", await cast("Any", pipe.get(key)))) or Desired("idle")
            wanted = change(known)
            pipe.multi()  # type: ignore[no-untyped-call]
            pipe.set(key, _encode(wanted))
            try:
                await pipe.execute()
            except redis.WatchError:
                continue
        return wanted


async def give_up_desired(
    client: redis.asyncio.Redis, exchange_id: int, wanted: Desired, reason: str
) -> bool:
    """Makes idle, with words, what cannot be had as `wanted`; False when something else is wanted by now."""
    given_up = replace(wanted, state="idle", paused=False, reason=reason)
    left = await change_desired(client, exchange_id, lambda known: given_up if known == wanted else known)
    return left == given_up


def read_desired_sync(client: redis.Redis, exchange_id: int) -> Desired | None:
    """`read_desired` for sensors, the keeper and commands."""
    return _decode(cast("str | None", client.get(keys.desired(exchange_id))))


def write_desired_sync(client: redis.Redis, exchange_id: int, desired: Desired) -> None:
    client.set(keys.desired(exchange_id), _encode(desired))


def change_desired_sync(
    client: redis.Redis, exchange_id: int, change: Callable[[Desired], Desired]
) -> Desired:
    """`change_desired` for sensors, the keeper and commands."""
    key = keys.desired(exchange_id)
    while True:
        with client.pipeline(transaction=True) as pipe:
            pipe.watch(key)  # type: ignore[no-untyped-call]
            wanted = change(_decode(cast("str | None", pipe.get(key))) or Desired("idle"))
            pipe.multi()
            pipe.set(key, _encode(wanted))
            try:
                pipe.execute()
            except redis.WatchError:
                continue
        return wanted


def stop_desired_sync(client: redis.Redis, exchange_id: int, user: str) -> None:
    """From now on there shall be no process of it; its symbols stay chosen for the next start."""
    change_desired_sync(
        client,
        exchange_id,
        lambda known: replace(known, state="stopped", user=user, reason="", paused=False),
    )
