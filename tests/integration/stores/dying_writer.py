"""A store writer in a process of its own that is killed at a chosen line of its work."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from types import FrameType
from typing import Any

from livermore_dagster.ingest.store_writer import StoreWriter
from livermore_dagster.stores.postgres.connect import open_pool
from livermore_dagster.stores.redis.client import connect_async

WATCHED = ("ingest/store_writer.py", "stores/postgres/candles.py", "stores/redis/closes.py")
PURE = ("_close", "_closes", "_entries", "stamped", "_copy_text", "<listcomp>", "<genexpr>")
"""A death in these is one just before or after them."""


def run_until_killed(redis_url: str, database_url: str, kill_at_line: int, batch: int) -> int:
    """Lets a forked writer work; it kills itself with SIGKILL before its nth line. The exit code."""
    process = multiprocessing.get_context("fork").Process(
        target=_write, args=(redis_url, database_url, kill_at_line, batch)
    )
    process.start()
    process.join(30)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode or 0


def _write(redis_url: str, database_url: str, kill_at_line: int, batch: int) -> None:
    left = kill_at_line

    def on_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(WATCHED) or frame.f_code.co_name in PURE:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    async def work() -> None:
        client = connect_async(redis_url)
        pool = await open_pool(database_url, None, max_size=1)
        writer = StoreWriter(client, pool, 2, batch=batch, block_ms=20)
        sys.settrace(on_line)
        await writer.run(asyncio.Event())

    asyncio.run(work())
