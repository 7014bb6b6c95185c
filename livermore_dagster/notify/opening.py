"""Channels out of settings: the one place that knows every kind."""

from __future__ import annotations

from collections.abc import Mapping

from livermore_dagster.accounts.settings_document import ChannelSettings
from livermore_dagster.notify.apprise_channel import AppriseChannel
from livermore_dagster.notify.channel import Channel, Refused, Reply, address_of
from livermore_dagster.notify.discord import DiscordChannel, Gates
from livermore_dagster.notify.text import Notice

__all__ = ["open_channel"]


class _Unaddressed:
    """A channel whose variable is not set: it refuses everything, with that reason."""

    def __init__(self, refused: Refused) -> None:
        self._refused = refused

    def wait_s(self) -> float:
        return 0.0

    async def send(self, notice: Notice) -> Reply:
        return self._refused

    async def close(self) -> None: ...


def open_channel(
    settings: ChannelSettings, gates: Gates, environment: Mapping[str, str] | None = None
) -> Channel:
    """The channel, its address read from the environment variable the settings name (R8)."""
    address = address_of(settings.url_env, environment)
    if isinstance(address, Refused):
        return _Unaddressed(address)
    if settings.kind == "discord":
        return DiscordChannel(address, gates)
    return AppriseChannel(address)
