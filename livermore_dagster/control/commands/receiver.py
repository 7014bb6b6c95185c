"""Hears the commands of all users, and takes those of its exchange: checked, queued, acknowledged.

It runs in a thread with connections of its own, and an instance's in a process of its own (`ears`): beside an
event loop that is busy with a warm-up or a boundary of 500 symbols each word with a server took ten to forty
milliseconds, most of it waiting for the interpreter's lock.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
from livermore_dagster.control.commands.queue import accept, answer_sync, known_of, server_ms_sync, tell_sync
from livermore_dagster.control.commands.telling import Teller
from livermore_dagster.errors import PlatformError
from livermore_dagster.stores.postgres.commands import Authority, CommandRecord, read_authority, why_not
from livermore_dagster.stores.redis import keys

__all__ = ["CommandReceiver"]

log = structlog.get_logger(__name__)

_LISTEN_S: Final = 0.5
_TOGETHER: Final = 64
_QUIET_S: Final = 15.0
_FRESH_S: Final = 2.0
_RETRY_S: Final = 1.0
_LOOK_UP_MS: Final = 2_000
"""A sender waits five seconds for a word."""
_MALFORMED_S: Final = 5
"""What is sent again after this is answered again; every instance has heard it long before."""


class CommandReceiver:
    """One per instance that holds its claim. `on_heard` is told, from the receiver's thread, of the commands
    taken and refused, some at a time; while `is_full` says so, none is taken.

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
        on_heard: Callable[[Sequence[CommandRecord]], None],
        is_full: Callable[[], bool],
    ) -> None:
        self._connect = connect
        self._conninfo = conninfo
        self._id = exchange_id
        self._exchange = exchange
        self._token = token
        self._teller = Teller(instance_id)
        self._known = frozenset(known_exchanges)
        self._on_heard = on_heard
        self._is_full = is_full
        self._halt = threading.Event()
        self._listening = threading.Event()
        self._database: psycopg.Connection[Any] | None = None
        self._server_ms, self._told_at = 0, float("-inf")
        """What the Redis server's clock said last, and when (monotonic) it came."""
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
            channel.psubscribe(keys.channel_commands("*"))
            # The server has it when the first reading, of the subscription's own answer, returns.
            channel.get_message(timeout=_LISTEN_S)
            self._authority(())  # the connection is there when the first command comes
            self._listening.set()
            heard_at = time.monotonic()
            while not self._halt.is_set():
                messages = list(_waiting(channel))
                if messages:
                    heard_at = time.monotonic()
                    self._hear(client, messages)
                elif time.monotonic() - heard_at > _QUIET_S:
                    # Nobody commands for hours: whether the server still has us would not show.
                    heard_at = time.monotonic()
                    channel.ping()
                elif time.monotonic() - self._told_at > _FRESH_S / 2:
                    self._ask_time(client)

    # --- messages -----------------------------------------------------------------------------------------
    def _hear(self, client: redis.Redis, messages: Sequence[tuple[str, str]]) -> None:
        """What came together is judged and answered together, in as few words with servers as can be: each
        waits for its turn with all that a warm-up or a boundary has them do."""
        now_ms = self._now_ms(client)
        ours: list[Command] = []
        for sub, text in messages:
            try:
                command = parse_command(text, sub, now_ms)
            except MalformedCommand as malformed:
                self._answer_malformed(client, sub, text, malformed, now_ms)
                continue
            if command.exchange == self._exchange:
                ours.append(command)
            elif command.exchange not in self._known and self._first(client, sub, text):
                known = ", ".join(sorted(self._known))
                reason = f"Unknown exchange {command.exchange!r}. Known: {known}."
                self._refuse(client, [(command, Outcome.REFUSED, reason)], now_ms)
        if ours:
            self._judge(client, ours, now_ms)

    def _judge(self, client: redis.Redis, commands: Sequence[Command], now_ms: int) -> None:
        authority = self._authority({command.sub for command in commands})
        fit: list[Command] = []
        unfit: list[tuple[Command, Outcome, str]] = []
        for command in commands:
            if command.expired(now_ms):
                age_s = (now_ms - command.timestamp) / 1000
                reason = f"It is {age_s:.0f} s old; a command lives {EXPIRES_MS // 1000} s."
                unfit.append((command, Outcome.EXPIRED, reason))
            elif reason := self._why_not(command.sub, authority):
                unfit.append((command, Outcome.REFUSED, reason))
            else:
                fit.append(command)
        if fit:
            self._take(client, fit, now_ms)
        if unfit:
            self._refuse(client, unfit, now_ms)

    def _take(self, client: redis.Redis, commands: Sequence[Command], now_ms: int) -> None:
        offers = [
            (command, self._teller.reply(command, ReplyKind.ACK, Outcome.ACCEPTED, now_ms))
            for command in commands
        ]
        fresh, self._server_ms = accept(client, self._id, offers, self._token)
        self._told_at = time.monotonic()
        if fresh:
            self._on_heard([self._record(command, now_ms, Outcome.ACCEPTED) for command in fresh])

    def _now_ms(self, client: redis.Redis) -> int:
        """The Redis server's time: what it said a moment ago and what has passed since, else asked for."""
        if time.monotonic() - self._told_at > _FRESH_S:
            self._ask_time(client)
        return self._server_ms + int((time.monotonic() - self._told_at) * 1000)

    def _ask_time(self, client: redis.Redis) -> None:
        self._server_ms, self._told_at = server_ms_sync(client), time.monotonic()

    def _authority(self, subs: Collection[str]) -> Mapping[str, Authority] | None:
        """None where it cannot be looked up."""
        stood = self._database is not None
        try:
            return self._look_up(subs)
        except psycopg.Error as error:
            if stood and self._database is not None and self._database.closed:
                # It died with its server, which may be back since.
                self._database = None
                return self._authority(subs)
            log.warning("authority_unknown", exchange=self._exchange, error=type(error).__name__)
            return None

    def _look_up(self, subs: Collection[str]) -> Mapping[str, Authority]:
        if self._database is None or self._database.closed:
            self._database = psycopg.connect(
                self._conninfo,
                autocommit=True,
                connect_timeout=5,
                options=f"-c statement_timeout={_LOOK_UP_MS}",
            )
        return read_authority(self._database, subs, self._id)

    def _why_not(self, sub: str, authority: Mapping[str, Authority] | None) -> str:
        """Why this user may not command this exchange just now; '' where he may (C1)."""
        if authority is None:
            return "Who may command cannot be looked up just now: the database does not answer."
        if reason := why_not(sub, authority.get(sub), self._exchange):
            return reason
        if self._is_full():
            return "The history of commands cannot be kept just now: the database takes nothing."
        return ""

    def _answer_malformed(
        self, client: redis.Redis, sub: str, text: str, malformed: MalformedCommand, now_ms: int
    ) -> None:
        """The instance it names answers; where it names none that is known, whichever hears it first."""
        if malformed.exchange in self._known and malformed.exchange != self._exchange:
            return
        if not self._first(client, sub, text):
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

    def _first(self, client: redis.Redis, sub: str, text: str) -> bool:
        """Whether no other instance has answered what was just heard."""
        digest = hashlib.sha256(f"{sub}\0{text}".encode()).hexdigest()
        return bool(client.set(keys.malformed_seen(digest), "1", nx=True, ex=_MALFORMED_S))

    def _refuse(
        self, client: redis.Redis, refused: Sequence[tuple[Command, Outcome, str]], now_ms: int
    ) -> None:
        """But one that was taken before is acknowledged again, and its outcome stays its own."""
        known = known_of(client, [command for command, _, _ in refused])
        for command, outcome, reason in refused:
            if command.name not in known:
                reply = self._teller.reply(command, ReplyKind.ERROR, outcome, now_ms, reason)
                answer_sync(client, command.sub, reply)
            elif known[command.name] == "taken":
                reply = self._teller.reply(command, ReplyKind.ACK, Outcome.ACCEPTED, now_ms)
                tell_sync(client, command.sub, reply)
        self._on_heard(
            [
                self._record(command, now_ms, outcome, why)
                for command, outcome, why in refused
                if command.name not in known
            ]
        )

    def _record(self, command: Command, now_ms: int, outcome: Outcome, error: str = "") -> CommandRecord:
        over_ms = None if outcome is Outcome.ACCEPTED else now_ms
        return self._teller.record(command, outcome, received_ms=now_ms, finished_ms=over_ms, error=error)


def _waiting(channel: Any) -> Iterator[tuple[str, str]]:
    """Sender and text of what is there to be read; nothing after waiting a little for it."""
    for place in range(_TOGETHER):
        message = channel.get_message(timeout=_LISTEN_S if place == 0 else 0.0)
        if message is None:
            return
        if message["type"] == "pmessage":
            yield str(message["channel"]).removeprefix(keys.channel_commands("")), str(message["data"])
