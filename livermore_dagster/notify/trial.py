"""`notify test`: one sample alert to each channel, and how each of them answered."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import redis.asyncio

from livermore_dagster.accounts.settings_document import ChannelSettings
from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.factory import dialect_for, row_named
from livermore_dagster.market.candle import Candle
from livermore_dagster.notify.channel import Sent, TryAgain
from livermore_dagster.notify.discord import Gates
from livermore_dagster.notify.illustrator import Illustrator, request_of
from livermore_dagster.notify.opening import open_channel
from livermore_dagster.notify.painter import ChartFailed, Painter
from livermore_dagster.notify.text import alert_notice
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.postgres.deliveries import HeardAlert

__all__ = ["Chart", "Tried", "paint_sample", "try_channels"]

_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Chart:
    """`png` or why there is none; `took_ms` of painting, the painter warm."""

    png: bytes | None
    note: str | None
    took_ms: float


@dataclass(frozen=True, slots=True)
class Tried:
    """`outcome`: sent; refused for good; or not sent, where another attempt may help."""

    channel: str
    kind: str
    outcome: Literal["sent", "refused", "not sent"]
    detail: str
    took_ms: float


async def paint_sample(
    heard: HeardAlert, bars: Sequence[Candle], client: redis.asyncio.Redis, pool: Pool, *, simulated: bool
) -> Chart:
    """The chart by a painter of this command's own; `bars` where they are not to be read."""
    painter = Painter()
    try:
        await painter.warm()
        begun = time.perf_counter()
        if bars:
            png = await painter.paint(request_of(heard, bars, simulated=simulated), _PATIENCE_S)
        else:
            artist = Illustrator(client, pool, painter, simulated=simulated, within_s=_PATIENCE_S)
            png = await artist.chart(heard)
        return Chart(png, None, (time.perf_counter() - begun) * 1000)
    except ChartFailed as error:
        return Chart(None, f"without its chart: {error}", 0.0)
    except Exception as error:  # noqa: BLE001 - whatever it is, the channels are tried
        return Chart(None, f"without its chart: {type(error).__name__}", 0.0)
    finally:
        await painter.close()


async def try_channels(
    channels: Sequence[ChannelSettings], heard: HeardAlert, chart: Chart, *, simulated: bool
) -> list[Tried]:
    """One after the other; every address is read from this process's environment."""
    gates = Gates(SystemClock())
    url = dialect_for(row_named(heard.exchange)).page_url(heard.alert.symbol)
    found: list[Tried] = []
    for settings in channels:
        png, note = (chart.png, chart.note) if settings.chart else (None, None)
        notice = alert_notice(heard, url, simulated=simulated, chart=png, chart_note=note, trial=True)
        channel = open_channel(settings, gates)
        begun = time.perf_counter()
        try:
            reply = await channel.send(notice)
        finally:
            await channel.close()
        took_ms = (time.perf_counter() - begun) * 1000
        if isinstance(reply, Sent):
            found.append(Tried(settings.name, settings.kind, "sent", reply.receipt, took_ms))
        else:
            outcome: Literal["refused", "not sent"] = "not sent" if isinstance(reply, TryAgain) else "refused"
            found.append(Tried(settings.name, settings.kind, outcome, reply.reason, took_ms))
    return found
