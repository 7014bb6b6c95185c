"""Sends a command and waits for what becomes of it; for the command line, and for pages to come."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec
import redis.asyncio

from livermore_dagster.control.commands.message import (
    Command,
    CommandType,
    MalformedCommand,
    Outcome,
    Priority,
    Reply,
    ReplyKind,
    parse_command,
)
from livermore_dagster.control.commands.queue import REMEMBERED_MS, server_ms
from livermore_dagster.control.status import decode_status
from livermore_dagster.errors import BadSetting
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.stores.redis import keys

__all__ = ["Answer", "Verdict", "send_command"]

ACK_S: Final = 5.0
"""An instance acknowledges within 100 ms; one that has not within this is not there."""
_LOOK_S: Final = 1.0


class Verdict(StrEnum):
    """What a sender has to know."""

    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"
    REFUSED = "refused"
    NOBODY = "nobody"
    """No instance of the exchange is there to take it."""
    UNANSWERED = "unanswered"
    """It was taken, and had not ended when the sender's patience did."""


class Answer(msgspec.Struct, frozen=True):
    """`words`: for people; `ack_ms`: from sending to the acknowledgement, None without one."""

    verdict: Verdict
    correlation_id: str
    words: str
    ack_ms: float | None
    reply: Reply | None = None


async def send_command(
    client: redis.asyncio.Redis,
    row: ExchangeRow,
    sub: str,
    kind: CommandType,
    payload: Mapping[str, Any],
    *,
    priority: Priority = Priority.NORMAL,
    patience_s: float = 60.0,
    on_reply: Callable[[Reply], None] | None = None,
) -> Answer:
    """Sends to the instance of `row` and waits for its end, at most `patience_s`.

    Raises BadSetting for a payload that the command does not have; `on_reply` is told of acknowledgement and
    progress.
    """
    command = await _command(client, row, sub, kind, payload, priority)
    held = await client.get(keys.status(row.id))
    if held is None:
        words = f"No instance of {row.name} is registered, so nobody can {kind.value}."
        return Answer(Verdict.NOBODY, command.correlation_id, words, None)
    async with client.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe(keys.channel_responses(sub))
        await channel.get_message(timeout=_LOOK_S)
        sent = time.monotonic()
        await client.publish(keys.channel_commands(sub), _wire(command))
        waiting = _Waiting(client, channel, command, sent)
        ack = await waiting.reply(sent + min(ACK_S, patience_s))
        if ack is None and await _withdraw(client, command):
            holder = decode_status(str(held))
            words = (
                f"{row.name} is held by {holder.hostname} (pid {holder.pid}), which does not answer. "
                f"Its heartbeat decides within 45 s whether it is dead: livermore status."
            )
            return Answer(Verdict.NOBODY, command.correlation_id, words, None)
        ack_ms = None if ack is None else (time.monotonic() - sent) * 1000
        # One that was taken by an instance that died before it could say so is answered by the next.
        reply = ack if ack is not None else await waiting.reply(sent + patience_s)
        while reply is not None and reply.kind in (ReplyKind.ACK, ReplyKind.PROGRESS):
            if on_reply is not None:
                on_reply(reply)
            reply = await waiting.reply(sent + patience_s)
    if reply is None:
        words = f"{row.name} took it, and has not finished within {patience_s:.0f} s."
        return Answer(Verdict.UNANSWERED, command.correlation_id, words, ack_ms)
    words = reply.error or f"{kind.value} on {row.name}: {reply.outcome.value}."
    return Answer(_VERDICTS[reply.outcome], command.correlation_id, words, ack_ms, reply)


async def _withdraw(client: redis.asyncio.Redis, command: Command) -> bool:
    """Makes a command that nobody took one that nobody will take; False when somebody did take it."""
    seen = keys.command_seen(command.correlation_id, command.sub)
    return bool(await client.set(seen, "withdrawn", nx=True, px=REMEMBERED_MS))


_VERDICTS: Final = {
    Outcome.DONE: Verdict.DONE,
    Outcome.FAILED: Verdict.FAILED,
    Outcome.EXPIRED: Verdict.EXPIRED,
    Outcome.REFUSED: Verdict.REFUSED,
}


class _Waiting:
    """Replies to one command, by the channel, or from where the last one is kept if the channel lost it."""

    def __init__(self, client: redis.asyncio.Redis, channel: Any, command: Command, sent: float) -> None:
        self._redis = client
        self._channel = channel
        self._id = command.correlation_id
        self._kept = keys.command_reply(command.correlation_id, command.sub)
        self._looked = sent

    async def reply(self, deadline: float) -> Reply | None:
        """The next reply; None when `deadline` (monotonic) passes first."""
        while (left := deadline - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(min(left, _LOOK_S) + 0.5):
                    message = await self._channel.get_message(timeout=min(left, _LOOK_S))
            except TimeoutError:
                message = None
            if message is not None and message["type"] == "message":
                reply = msgspec.json.decode(message["data"], type=Reply)
                if reply.correlation_id == self._id:
                    return reply
            elif time.monotonic() - self._looked >= _LOOK_S:
                self._looked = time.monotonic()
                kept = await self._redis.get(self._kept)
                if kept is not None:
                    return msgspec.json.decode(kept, type=Reply)
        return None


async def _command(
    client: redis.asyncio.Redis,
    row: ExchangeRow,
    sub: str,
    kind: CommandType,
    payload: Mapping[str, Any],
    priority: Priority,
) -> Command:
    """Stamped by the Redis server, whose clock the instance judges its age by."""
    now_ms = await server_ms(client)
    made = Command(
        correlation_id=str(uuid.uuid4()),
        type=kind,
        exchange=row.name,
        timestamp=now_ms,
        sub=sub,
        priority=priority,
        payload=dict(payload),
    )
    try:
        return parse_command(_wire(made), sub, now_ms)
    except MalformedCommand as error:
        raise BadSetting(error.reason, f"See livermore command {kind.value} --help.") from None


def _wire(command: Command) -> str:
    """A command as it travels: who sent it is the channel's to say."""
    facts = msgspec.to_builtins(command)
    del facts["sub"]
    return msgspec.json.encode(facts).decode()
