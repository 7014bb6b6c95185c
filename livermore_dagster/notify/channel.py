"""What a channel is: a place notices go to, by one kind of service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from livermore_dagster.notify.text import Notice

__all__ = ["Channel", "Refused", "Reply", "Sent", "TryAgain", "address_of", "scrubbed"]

_SECRET: Final = "[address hidden]"  # noqa: S105 - what stands where one was
_SHORTEST_SECRET: Final = 6


@dataclass(frozen=True, slots=True)
class Sent:
    """It arrived. `receipt` is the service's own id of the message, or how much it tells."""

    receipt: str


@dataclass(frozen=True, slots=True)
class TryAgain:
    """It did not arrive, as far as is known. `after_s`: how long the service asks to be left alone."""

    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """It will not arrive, however often it is sent. `of_message`: for what is in it, another may arrive."""

    reason: str
    of_message: bool = False


Reply = Sent | TryAgain | Refused


class Channel(Protocol):
    def wait_s(self) -> float:
        """For how long the service asked to be left alone; nothing is sent before."""
        ...

    async def send(self, notice: Notice) -> Reply:
        """Sends one notice within a bound of time. Never raises; no reason holds the address (R8)."""
        ...

    async def close(self) -> None: ...


def address_of(variable: str, environment: Mapping[str, str] | None = None) -> str | Refused:
    """The address in an environment variable, which alone holds it; what is wrong where there is none."""
    values = os.environ if environment is None else environment
    address = values.get(variable, "").strip()
    if address:
        return address
    return Refused(f"the environment variable {variable} is not set in this process")


def scrubbed(text: str, address: str) -> str:
    """`text` on one line without the address or any telling part of it."""
    parts = {address, *address.replace("?", "/").replace("&", "/").replace("@", "/").split("/")}
    for part in sorted((part for part in parts if len(part) >= _SHORTEST_SECRET), key=len, reverse=True):
        text = text.replace(part, _SECRET)
    return " ".join(text.split())[:300]
