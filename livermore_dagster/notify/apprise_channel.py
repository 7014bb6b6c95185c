"""Every service but Discord, by the apprise library, in a thread of its own.

Apprise answers only yes or no: its receipt is coarse, a refusal cannot be told from a failure, so everything
that is not a yes is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future
from typing import Any, Final

from livermore_dagster.notify.channel import Refused, Reply, Sent, TryAgain
from livermore_dagster.notify.text import Notice

__all__ = ["AppriseChannel"]

_BOUND_S: Final = 30.0


class AppriseChannel:
    """One address of apprise's kind, such as tgram://… or mailto://…"""

    def __init__(self, address: str, *, bound_s: float = _BOUND_S) -> None:
        self._address = address
        self._bound_s = bound_s
        self._busy: Future[bool | None] | None = None

    async def close(self) -> None: ...

    def wait_s(self) -> float:
        return 0.0

    async def send(self, notice: Notice) -> Reply:
        if self._busy is not None and not self._busy.done():
            return TryAgain("the service still holds the last message")
        self._busy = Future()
        # Not a pool's thread: the interpreter would wait for it at its end, however long a service hangs.
        threading.Thread(target=self._work, args=(notice, self._busy), daemon=True, name="apprise").start()
        try:
            async with asyncio.timeout(self._bound_s):
                arrived = await asyncio.shield(asyncio.wrap_future(self._busy))
        except TimeoutError:
            return TryAgain(f"the service did not answer within {self._bound_s:g} s")
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything, its text may hold the address
            return TryAgain(f"the service's plugin failed ({type(error).__name__})")
        if arrived is None:
            return Refused("the address is none that apprise knows")
        return Sent("taken by the service (apprise tells no more)") if arrived else TryAgain("not taken")

    def _work(self, notice: Notice, result: Future[bool | None]) -> None:
        try:
            result.set_result(_notify(self._address, notice))
        except Exception as error:  # noqa: BLE001 - handed to the sender
            result.set_exception(error)


def _notify(address: str, notice: Notice) -> bool | None:
    """None for an address apprise cannot read."""
    import apprise
    from apprise.attachment.memory import AttachMemory

    logging.getLogger("apprise").disabled = True  # its lines hold addresses
    plugin = apprise.Apprise.instantiate(address)
    if not isinstance(plugin, apprise.NotifyBase):
        return None
    if plugin.overflow_mode == apprise.OverflowMode.UPSTREAM:
        # What is longer than the service takes would never be taken. An address may ask for another way.
        plugin.overflow_mode = apprise.OverflowMode.SPLIT
    door = apprise.Apprise()
    door.add(plugin)
    attach: Any = AttachMemory
    files = [attach(content=one.content, name=one.name, mimetype=one.kind) for one in notice.files]
    return bool(
        door.notify(
            title=notice.title,
            body=notice.text,
            # Said, so that services of HTML (mail) keep its lines.
            body_format=apprise.NotifyFormat.TEXT,
            attach=files or None,
        )
    )
