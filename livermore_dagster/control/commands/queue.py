"""Commands taken and not yet run, in Redis: they outlive the instance that took them and run at most once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.resources import files
from typing import Any, Final, cast

import msgspec
import redis
import redis.asyncio

from livermore_dagster.control.commands.message import Command, Lane, Reply
from livermore_dagster.stores.redis import keys

__all__ = [
    "REMEMBERED_MS",
    "CommandQueue",
    "accept",
    "answer_sync",
    "known_of",
    "server_ms",
    "server_ms_sync",
    "tell_sync",
]

REMEMBERED_MS: Final = 600_000
"""A correlation id used again within this time is the same command again."""
REPLY_S: Final = 600


def _script(name: str) -> str:
    return files("livermore_dagster.control.commands").joinpath(f"lua/{name}.lua").read_text()


_ACCEPT: Final = _script("accept")
_TAKE: Final = _script("take")
_ORPHANS: Final = _script("orphans")


def server_ms_sync(client: redis.Redis) -> int:
    """The Redis server's clock, epoch ms: the one clock that senders and instances of all machines share."""
    return _ms(client.time())


async def server_ms(client: redis.asyncio.Redis) -> int:
    return _ms(await client.time())


def _ms(time: tuple[int, int]) -> int:
    return int(time[0]) * 1000 + int(time[1]) // 1000


def accept(
    client: redis.Redis, exchange_id: int, offers: Sequence[tuple[Command, Reply]], token: str
) -> tuple[list[Command], int]:
    """Puts commands into their lanes' queues, each once, and acknowledges each with its reply.

    `token`: of the claim under which they are taken. Returns those that were not known already, and the
    server's time (epoch ms). Of one whose claim is another's, or that its sender has withdrawn, there is
    nothing to say.
    """
    pipe = client.pipeline(transaction=False)
    for command, reply in offers:
        pipe.eval(
            _ACCEPT,
            6,
            keys.command_seen(command.correlation_id, command.sub),
            keys.command_queue(exchange_id, command.lane.value),
            keys.command_bodies(exchange_id),
            keys.command_sequence(exchange_id),
            keys.status(exchange_id),
            keys.command_reply(command.correlation_id, command.sub),
            command.name,
            command.encode(),
            str(command.rank),
            token,
            str(REMEMBERED_MS),
            keys.channel_responses(command.sub),
            reply.encode(),
        )
    pipe.time()
    *answers, now = pipe.execute()
    fresh = [command for (command, _), answer in zip(offers, answers, strict=True) if int(answer) == 1]
    return fresh, _ms(now)


def known_of(client: redis.Redis, commands: Sequence[Command]) -> dict[str, str]:
    """By name, those of an id known already: `taken`, or `withdrawn` by its sender."""
    seen = [keys.command_seen(one.correlation_id, one.sub) for one in commands]
    states = cast("list[str | None]", client.mget(seen)) if seen else []
    return {one.name: state for one, state in zip(commands, states, strict=True) if state}


def tell_sync(client: redis.Redis, sub: str, reply: Reply) -> None:
    client.publish(keys.channel_responses(sub), reply.encode())


def answer_sync(client: redis.Redis, sub: str, reply: Reply) -> None:
    """Publishes a reply, and keeps it for a sender that was not listening: in the place of none before it."""
    text = reply.encode()
    pipe = client.pipeline(transaction=False)
    if reply.correlation_id:
        pipe.set(keys.command_reply(reply.correlation_id, sub), text, ex=REPLY_S, nx=True)
    pipe.publish(keys.channel_responses(sub), text)
    pipe.execute()


class CommandQueue:
    """The running side: one per instance, under its claim's token."""

    def __init__(self, client: redis.asyncio.Redis, exchange_id: int, token: str) -> None:
        self._redis = client
        self._id = exchange_id
        self._token = token

    async def take(self, lane: Lane) -> Command | None:
        """The lane's next command, from now on this instance's to answer; None for an empty lane."""
        text = await cast(
            "Any",
            self._redis.eval(
                _TAKE,
                4,
                keys.command_queue(self._id, lane.value),
                keys.command_bodies(self._id),
                keys.command_running(self._id),
                keys.status(self._id),
                self._token,
            ),
        )
        return msgspec.json.decode(text, type=Command) if text else None

    async def orphans(self, here: Collection[str]) -> list[Command]:
        """Commands that run, it is said, but not `here` (names): with what effect nobody knows.

        An earlier instance ran them when it ended, or it was never heard that they were taken. They are this
        instance's to answer; what becomes of it before it has, the next finds them again.
        """
        found = await cast(
            "Any",
            self._redis.eval(
                _ORPHANS,
                3,
                keys.command_bodies(self._id),
                keys.command_running(self._id),
                keys.status(self._id),
                self._token,
                *here,
            ),
        )
        return [msgspec.json.decode(text, type=Command) for text in found]

    async def finish(self, command: Command, reply: Reply) -> None:
        """Answers a command and forgets it, in one step: an answered command is never an orphan."""
        text = reply.encode()
        pipe = self._redis.pipeline(transaction=True)
        pipe.hdel(keys.command_running(self._id), command.name)
        pipe.hdel(keys.command_bodies(self._id), command.name)
        pipe.set(keys.command_reply(command.correlation_id, command.sub), text, ex=REPLY_S)
        pipe.publish(keys.channel_responses(command.sub), text)
        await pipe.execute()

    async def tell(self, command: Command, reply: Reply) -> None:
        """A reply that does not end the command: its progress."""
        await self._redis.publish(keys.channel_responses(command.sub), reply.encode())
