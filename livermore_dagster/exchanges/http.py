"""A thin port over the HTTP library: one call, with its status, headers and body, or ExchangeUnavailable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import urlsplit

import httpx

from livermore_dagster.errors import ExchangeUnavailable
from livermore_dagster.exchanges.trouble import transport_trouble

__all__ = ["HttpPort", "HttpReply", "HttpxPort", "NoReply", "is_loopback"]

# The library logs whole addresses, at a level that a host process may show: signatures are in their queries.
logging.getLogger("httpx").setLevel(logging.WARNING)

_LARGEST_BYTES: Final = 64 << 20
"""The longest list of products known is a quarter of it."""
_STALLED_MS = 12_000
_BROKEN_MS = 1_000


class NoReply(ExchangeUnavailable):
    """`on_its_way_ms`: how much longer the request may take to be read at the other end."""

    def __init__(self, message: str, on_its_way_ms: int, advice: str = "") -> None:
        super().__init__(message, advice)
        self.on_its_way_ms = on_its_way_ms


@dataclass(frozen=True, slots=True)
class HttpReply:
    """`headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    """Not in its repr: an account's balances, or a key that the exchange repeats."""


class HttpPort(Protocol):
    async def call(
        self, method: str, path: str, query: str = "", headers: Mapping[str, str] | None = None
    ) -> HttpReply:
        """`query` leaves exactly as given, for it may be signed. Raises NoReply when no whole reply came."""
        ...

    async def close(self) -> None: ...


def is_loopback(url: str) -> bool:
    """Whether the address is on this machine, where no proxy stands between."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


class HttpxPort:
    """`timeout_s` bounds connecting and each silence of the server, `whole_s` a call with its whole reply."""

    def __init__(
        self, base_url: str, *, timeout_s: float = 10.0, whole_s: float = 60.0, connections: int = 16
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._whole_s = whole_s
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_s, pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            headers={"accept": "application/json", "user-agent": "livermore"},
            trust_env=not is_loopback(base_url),
            follow_redirects=False,
        )

    async def call(
        self, method: str, path: str, query: str = "", headers: Mapping[str, str] | None = None
    ) -> HttpReply:
        url = f"{self._base_url}{path}"
        try:
            async with asyncio.timeout(self._whole_s):
                return await self._ask(method, f"{url}?{query}" if query else url, headers)
        except TimeoutError:
            words = f"{self._base_url} did not send its whole reply within {self._whole_s:g} s."
            raise NoReply(words, _STALLED_MS) from None
        except httpx.InvalidURL as error:
            raise NoReply(f"{self._base_url} is not an address: {error}.", 0) from None
        except httpx.HTTPError as error:
            trouble = transport_trouble(error, self._base_url)
            # Without its cause: the library's frames hold the headers, and some of those are secrets.
            raise NoReply(trouble.text, _on_its_way_ms(error), trouble.advice) from None

    async def _ask(self, method: str, url: str, headers: Mapping[str, str] | None) -> HttpReply:
        async with self._client.stream(method, url, headers=headers) as reply:
            body = bytearray()
            async for part in reply.aiter_bytes():
                body += part
                if len(body) > _LARGEST_BYTES:
                    raise NoReply(f"{self._base_url} sent more than {_LARGEST_BYTES >> 20} MiB.", 0)
            names = {name.lower(): value for name, value in reply.headers.items()}
            return HttpReply(reply.status_code, names, bytes(body))

    async def close(self) -> None:
        await self._client.aclose()


def _on_its_way_ms(error: httpx.HTTPError) -> int:
    """Never sent, perhaps read later by a server that stalls, or lost with the connection."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
        return 0
    return _STALLED_MS if isinstance(error, httpx.TimeoutException) else _BROKEN_MS
