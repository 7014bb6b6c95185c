"""The process that paints charts, kept warm: matplotlib's weight stays out of the notifier and of ingest.

`python -m livermore_dagster.notify.painter` reads requests from standard input and writes pictures to
standard output, each after its length (4 bytes); it ends when its input does, so it never outlives who
started it, not even one that was killed. A reply begins with one byte: 1 and a PNG, or 0 and what went wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import IO, Final

import msgspec

from livermore_dagster.notify.chart_request import ChartRequest

__all__ = ["ChartFailed", "Painter"]

_HEAD: Final = 4
_NICE: Final = 5
"""Below the notifier, which is below ingest: a picture takes a tenth of a second of a core."""
_PAINTED, _FAILED = b"\x01", b"\x00"
_START_S: Final = 30.0
"""For matplotlib's first import on a busy machine, its font list included."""
_HUNG_S: Final = 30.0
"""A painter that has not answered for so long is ended."""
PATIENCE_S: float = 4.0
"""A painter that is only being started is waited for this much longer."""


class ChartFailed(Exception):
    """There is no chart; the text says why, for people."""


class Painter:
    """One painting process, started when first needed, started anew when it died or hung."""

    def __init__(self, command: tuple[str, ...] = (sys.executable, "-m", __name__)) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._warm = False
        self._late: set[asyncio.Task[bytes]] = set()

    async def warm(self) -> None:
        """Has the process started and its imports done. Raises ChartFailed."""
        async with self._turn:
            await self._ready()

    async def paint(self, request: ChartRequest, within_s: float) -> bytes:
        """PNG. Raises ChartFailed after `within_s` at the latest.

        What takes longer is painted to its end all the same, for nobody: a painter ended in the middle would
        have to begin with its imports, and on a busy machine never get beyond them.
        """
        if not self._warm:
            within_s += PATIENCE_S
        begun = asyncio.Event()
        work = asyncio.create_task(self._take_turn(request, begun))
        done, _ = await asyncio.wait({work}, timeout=within_s)
        if done:
            return work.result()
        if not begun.is_set():
            work.cancel()
            raise ChartFailed("the painter was busy")
        self._late.add(work)
        work.add_done_callback(self._forget)
        raise ChartFailed(f"not painted within {within_s:g} s")

    async def close(self) -> None:
        for work in [*self._late]:
            work.cancel()
        await self._end()

    def _forget(self, work: asyncio.Task[bytes]) -> None:
        self._late.discard(work)
        if not work.cancelled():
            work.exception()  # looked at, so that nobody complains that it was not

    async def _take_turn(self, request: ChartRequest, begun: asyncio.Event) -> bytes:
        async with self._turn:
            begun.set()
            await self._ready()
            return await self._ask(msgspec.msgpack.encode(request), _HUNG_S)

    async def _ready(self) -> None:
        if self._process is not None and self._process.returncode is None:
            return
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment,
                limit=8 << 20,
            )
        except OSError as error:  # no process, memory or file handle left
            raise ChartFailed(f"the painter could not be started: {error.strerror}") from None
        try:
            # An empty request: its answer says that the imports are done.
            await self._ask(b"", _START_S)
        except ChartFailed as error:
            raise ChartFailed(f"the painter is not ready: {error}") from None
        self._warm = True

    async def _ask(self, request: bytes, within_s: float) -> bytes:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise ChartFailed("the painter is gone")
        try:
            async with asyncio.timeout(within_s):
                process.stdin.write(len(request).to_bytes(_HEAD, "big") + request)
                await process.stdin.drain()
                length = int.from_bytes(await process.stdout.readexactly(_HEAD), "big")
                reply = await process.stdout.readexactly(length)
        except TimeoutError:
            await self._end()
            raise ChartFailed("the painter hung") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            await self._end()
            raise ChartFailed("the painter died") from None
        except asyncio.CancelledError:
            # Its late answer would be taken for the next one's.
            await self._end()
            raise
        if reply[:1] == _FAILED:
            raise ChartFailed(reply[1:].decode())
        return reply[1:]

    async def _end(self) -> None:
        process, self._process = self._process, None
        self._warm = False
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


def _serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    from livermore_dagster.notify.chart import paint

    decode = msgspec.msgpack.Decoder(ChartRequest).decode
    while len(head := requests.read(_HEAD)) == _HEAD:
        request = requests.read(int.from_bytes(head, "big"))
        try:
            reply = _PAINTED + (paint(decode(request)) if request else b"")
        except Exception as error:  # noqa: BLE001 - whatever it is, the alert goes without its chart
            reply = _FAILED + f"{type(error).__name__}: {error}".encode()
        replies.write(len(reply).to_bytes(_HEAD, "big") + reply)
        replies.flush()


if __name__ == "__main__":
    os.nice(_NICE)
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        _serve(sys.stdin.buffer, sys.stdout.buffer)
