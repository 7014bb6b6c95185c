"""An instance's receiver in a process of its own: however busy the instance is, it acknowledges at once.

`python -m livermore_dagster.control.commands.ears` says `ready`, gets what it has to know as the first line
of its standard input, then `full` or `room`; it says `listening`, then each command taken or refused as a
line of JSON. It ends with its input, so with the instance.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from typing import Final, cast

import msgspec
import structlog

from livermore_dagster.clock import Clock
from livermore_dagster.control.commands.receiver import CommandReceiver
from livermore_dagster.logs import log_to_stderr
from livermore_dagster.stores.postgres.commands import CommandRecord
from livermore_dagster.stores.redis.client import connect

__all__ = ["Ears", "Hearing", "grow", "shed"]

log = structlog.get_logger(__name__)

_READY: Final = b"ready\n"
_LISTENING: Final = b"listening\n"
_FULL: Final = b"full\n"
_ROOM: Final = b"room\n"
_LONGEST_LINE: Final = 1 << 20
_RETRY_S: Final = 0.5
_LOOK_S: Final = 0.5


class Hearing(msgspec.Struct, frozen=True):
    """Whose commands are heard, and under which claim they are taken. `conninfo` may hold a password."""

    redis_url: str
    conninfo: str
    exchange_id: int
    exchange: str
    token: str
    instance_id: str
    known_exchanges: Sequence[str]


async def grow() -> Process:
    """A process that is ready to hear: an instance has one before its claim makes it one to be commanded."""
    # Of its own session: a Ctrl-C is the instance's to hear.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __spec__.name, stdin=PIPE, stdout=PIPE, start_new_session=True,
        limit=_LONGEST_LINE,
    )  # fmt: skip
    try:
        await _out(process).readuntil(_READY)
    except asyncio.IncompleteReadError:
        log.warning("ears_not_ready", code=process.returncode)
    except BaseException:
        await shed(process)
        raise
    return process


async def shed(process: Process) -> None:
    """Ends it at once; what it would still take, nobody would know of."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _out(process: Process) -> asyncio.StreamReader:
    return cast("asyncio.StreamReader", process.stdout)


class Ears:
    """The instance's side: `run` keeps the process until cancelled."""

    def __init__(
        self,
        hearing: Hearing,
        clock: Clock,
        *,
        on_heard: Callable[[Sequence[CommandRecord]], None],
        is_full: Callable[[], bool],
        grown: Process | None = None,
    ) -> None:
        """`grown`: the first process, where there is one. `on_heard` is told of commands taken and refused;
        while `is_full` says so, none is taken."""
        self._hearing = hearing
        self._clock = clock
        self._on_heard = on_heard
        self._is_full = is_full
        self._grown = grown
        self.listening = asyncio.Event()
        self.pid: int | None = None
        """Of the process that hears, or did last."""

    async def run(self) -> None:
        while True:
            await self._keep()
            self.listening.clear()
            log.warning("ears_ended", exchange=self._hearing.exchange)
            await self._clock.sleep(_RETRY_S)

    async def _keep(self) -> None:
        """Until it has ended."""
        process, self._grown = self._grown or await grow(), None
        self.pid = process.pid
        telling = asyncio.create_task(self._tell(cast("asyncio.StreamWriter", process.stdin)))
        try:
            async for line in _out(process):
                if line == _LISTENING:
                    self.listening.set()
                else:
                    self._on_heard([msgspec.json.decode(line, type=CommandRecord)])
        finally:
            telling.cancel()
            await shed(process)

    async def _tell(self, stdin: asyncio.StreamWriter) -> None:
        stdin.write(msgspec.json.encode(self._hearing) + b"\n")
        told = False
        while True:
            if self._is_full() != told:
                told = not told
                stdin.write(_FULL if told else _ROOM)
            await self._clock.sleep(_LOOK_S)


def main() -> None:
    log_to_stderr()
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    hearing = msgspec.json.decode(sys.stdin.buffer.readline(), type=Hearing)
    full = threading.Event()
    said = threading.Lock()

    def say(line: bytes) -> None:
        with said:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()

    receiver = CommandReceiver(
        lambda: connect(hearing.redis_url, encoding_errors="replace", waits_for_news=True),
        hearing.conninfo,
        hearing.exchange_id,
        hearing.exchange,
        token=hearing.token,
        instance_id=hearing.instance_id,
        known_exchanges=hearing.known_exchanges,
        on_heard=lambda records: say(b"".join(msgspec.json.encode(one) + b"\n" for one in records)),
        is_full=full.is_set,
    )
    receiver.start()
    say(_LISTENING)
    for line in sys.stdin.buffer:
        full.set() if line == _FULL else full.clear()
    # At once: what it would still take, nobody would know of.
    os._exit(0)


if __name__ == "__main__":
    main()
