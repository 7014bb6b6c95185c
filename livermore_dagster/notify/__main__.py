"""`python -m livermore_dagster.notify`: the notifier, until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys

from livermore_dagster.control.service_process import ServiceEnvironment
from livermore_dagster.errors import LivermoreError
from livermore_dagster.logs import log_to_stderr
from livermore_dagster.notify.service import Notifier

_NICE = 5
"""Where cores are few, telling of an alert comes after finding the next one."""


async def _run(addresses: ServiceEnvironment) -> None:
    working = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: working.cancel() if working else None)
    with contextlib.suppress(asyncio.CancelledError):
        await Notifier(addresses).run()


def main() -> int:
    """Exit code 0 after a clean stop, 1 or 2 with words on standard error otherwise."""
    log_to_stderr()
    os.nice(_NICE)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)  # their lines hold webhooks' addresses
    try:
        asyncio.run(_run(ServiceEnvironment.read()))
    except LivermoreError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
