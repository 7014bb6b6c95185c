"""Hears the commands of all users, and takes those of its exchange: checked, queued, acknowledged.

It runs in a thread with connections of its own, as the heartbeat does: an event loop that is busy with a
warm-up or a boundary of 500 symbols delays no acknowledgement.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

import psycopg
import redis
import structlog

from livermore_dagster.control.commands.message import (
    EXPIRES_MS,
    Command,
    MalformedCommand,
    Outcome,
    Reply,
    ReplyKind,
    parse_command,
)
from livermore_dagster.control.commands.queue import accept, answer_sync, server_ms_sync
from livermore_dagster.control.commands.telling import Teller
from livermore_dagster.errors import PlatformError
from livermore_dagster.stores.postgres.commands import CommandRecord, read_authority
from livermore_dagster.stores.redis import keys

__all__ = ["CommandReceiver"]

log = structlog.get_logger(__name__)

_LISTEN_S: Final = 0.5
_RETRY_S: Final = 1.0
_MALFORMED_S: Final = 60


class CommandReceiver:
    """One per instance that holds its claim. `on_queued` is told of each command taken, `on_refused` of each
    that was not, both from the receiver's thread.

    `connect` gives clients that replace what is no UTF-8: an error in the midst of a reply costs the
    connection, and what others send until there is a new one would be lost.
    """

    def __init__(
        self,
        connect: Callable[[], redis.Redis],
        conninfo: str,
        exchange_id: int,
        exchange: str,
        *,
        token: str,
        instance_id: str,
        known_exchanges: Iterable[str],
        on_queued: Callable[[CommandRecord], None],
        on_refused: Callable[[CommandRecord], None],
    ) -> None:
        self._connect = connect
        self._conninfo = conninfo
        self._id = exchange_id
        self._exchange = exchange
        self._token = token
        self._teller = Teller(instance_id)
        self._known = frozenset(known_exchanges)
        self._on_queued = on_queued
        self._on_refused = on_refused
        self._halt = threading.Event()
        self._listening = threading.Event()
        self._client: redis.Redis | None = None
        self._database: psycopg.Connection[Any] | None = None
        self._thread = threading.Thread(target=self._run, name=f"commands-{exchange}", daemon=True)

    def start(self, timeout_s: float = 5.0) -> None:
        """Returns once it listens, or after `timeout_s` while it goes on trying."""
        self._thread.start()
        self._listening.wait(timeout_s)

    def stop(self) -> None:
        self._halt.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while not self._halt.is_set():
            try:
                self._listen()
            except (redis.RedisError, OSError, PlatformError) as error:
                log.warning("commands_waiting", exchange=self._exchange, error=type(error).__name__)
                self._halt.wait(_RETRY_S)
            except Exception:
                # Whatever a message did: nobody could command this instance any more.
                log.exception("commands_broke", exchange=self._exchange)
                self._halt.wait(_RETRY_S)
        if self._database is not None:
            self._database.close()

    def _listen(self) -> None:
        with self._connect() as client, client.pubsub(ignore_subscribe_messages=True) as channel:
            self._client = client
            channel.psubscribe(keys.channel_commands("*"))
            # The server has it when the first reading, of the subscription's own answer, returns.
            channel.get_message(timeout=_LISTEN_S)
            self._listening.set()
            while not self._halt.is_set():
                message = channel.get_message(timeout=_LISTEN_S)
                if message is not None and message["type"] == "pmessage":
                    sub = str(message["channel"]).removeprefix(keys.channel_commands(""))
                    self._hear(client, sub, str(message["data"]))

    # --- one message --------------------------------------------------------------------------------------
    def _hear(self, client: redis.Redis, sub: str, text: str) -> None:
        now_ms = server_ms_sync(client)
        try:
            command = parse_command(text, sub, now_ms)
        except MalformedCommand as malformed:
            self._answer_malformed(client, sub, text, malformed, now_ms)
            return
        if command.exchange != self._exchange:
            if command.exchange not in self._known and self._first(client, text):
                known = ", ".join(sorted(self._known))
                reason = f"Unknown exchange {command.exchange!r}. Known: {known}."
                self._refuse(client, command, reason, now_ms)
            return
        if command.expired(now_ms):
            age_s = (now_ms - command.timestamp) / 1000
            reason = f"It is {age_s:.0f} s old; a command lives {EXPIRES_MS // 1000} s."
            self._refuse(client, command, reason, now_ms, Outcome.EXPIRED)
            return
        reason = self._why_not(sub)
        if reason:
            self._refuse(client, command, reason, now_ms)
            return
        self._take(client, command, now_ms)

    def _take(self, client: redis.Redis, command: Command, now_ms: int) -> None:
        taken = accept(client, self._id, command, self._token)
        if not taken.held:
            return  # another instance holds the exchange by now, and hears this too
        reply = self._teller.reply(command, ReplyKind.ACK, Outcome.ACCEPTED, now_ms)
        client.publish(keys.channel_responses(command.sub), reply.encode())
        if taken.fresh:
            self._on_queued(self._record(command, now_ms, Outcome.ACCEPTED))

    def _why_not(self, sub: str) -> str:
        """Why this user may not command this exchange; '' where he may (C1)."""
        try:
            if self._database is None or self._database.closed:
                self._database = psycopg.connect(self._conninfo, autocommit=True, connect_timeout=5)
            found = read_authority(self._database, sub, self._id)
        except psycopg.DataError:
            found = None  # no text of a database, so no user's either
        except psycopg.Error as error:
            self._database = None
            log.warning("authority_unknown", exchange=self._exchange, error=type(error).__name__)
            return "Who may command cannot be looked up just now: the database does not answer."
        if found is None:
            return f"There is no user {sub!r}."
        active, role, has_account = found
        if not active:
            return f"User {sub!r} is disabled."
        if role != "admin" and not has_account:
            return f"User {sub!r} is no admin and has no account of {self._exchange}."
        return ""

    def _answer_malformed(
        self, client: redis.Redis, sub: str, text: str, malformed: MalformedCommand, now_ms: int
    ) -> None:
        """The instance it names answers; where it names none that is known, whichever hears it first."""
        if malformed.exchange in self._known and malformed.exchange != self._exchange:
            return
        if not self._first(client, text):
            return
        reply = Reply(
            correlation_id=malformed.correlation_id,
            kind=ReplyKind.ERROR,
            outcome=Outcome.REFUSED,
            exchange=malformed.exchange,
            at=now_ms,
            instance_id=self._teller.instance_id,
            error=f"Malformed command: {malformed.reason}",
        )
        answer_sync(client, sub, reply)

    def _first(self, client: redis.Redis, text: str) -> bool:
        digest = hashlib.sha256(text.encode()).hexdigest()
        return bool(client.set(keys.malformed_seen(digest), "1", nx=True, ex=_MALFORMED_S))

    def _refuse(
        self,
        client: redis.Redis,
        command: Command,
        reason: str,
        now_ms: int,
        outcome: Outcome = Outcome.REFUSED,
    ) -> None:
        answer_sync(
            client, command.sub, self._teller.reply(command, ReplyKind.ERROR, outcome, now_ms, reason)
        )
        self._on_refused(self._record(command, now_ms, outcome, reason))

    def _record(self, command: Command, now_ms: int, outcome: Outcome, error: str = "") -> CommandRecord:
        over_ms = None if outcome is Outcome.ACCEPTED else now_ms
        return self._teller.record(command, outcome, received_ms=now_ms, finished_ms=over_ms, error=error)
