"""When a channel's worker looks again."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from zoneinfo import ZoneInfo

from livermore_dagster.accounts.settings_document import AlertSettings, ChannelSettings
from livermore_dagster.clock import SystemClock
from livermore_dagster.notify.channel import Reply, Sent
from livermore_dagster.notify.text import Notice
from livermore_dagster.notify.worker import ChannelWorker
from livermore_dagster.stores.postgres.deliveries import Place


class Closed:
    """A channel that is to be left alone for a moment."""

    def wait_s(self) -> float:
        return 0.02

    async def send(self, notice: Notice) -> Reply:
        return Sent(notice.title)

    async def close(self) -> None: ...


async def test_after_a_pause_it_looks_anew_however_long_it_meant_to_wait() -> None:
    nothing = cast("Any", None)
    worker = ChannelWorker(
        Place(1, "main"),
        ChannelSettings(name="main", kind="discord", url_env="HOOK"),
        lambda: (AlertSettings(), ZoneInfo("UTC")),
        Closed(),
        nothing,
        nothing,
        lambda exchange, symbol: f"{exchange}/{symbol}",
        nothing,
        SystemClock(),
        simulated=False,
    )
    async with asyncio.timeout(30):
        await worker._rest(60.0)
