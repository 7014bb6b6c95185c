"""A door that answers as a test says: for what account clients must survive and no honest exchange does."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

from livermore_dagster.exchanges.account_contract import AccountPage, PageCursor
from livermore_dagster.exchanges.factory import row_named
from livermore_dagster.market.exchange import ExchangeRow, Product

ReadPage = Callable[[PageCursor, Mapping[str, Product]], Awaitable[AccountPage]]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclasses.dataclass
class Played:
    """What was asked, and the row that leads here."""

    row: ExchangeRow
    requests: list[web.Request] = dataclasses.field(default_factory=list)
    times: list[float] = dataclasses.field(default_factory=list)
    """Monotonic seconds of each."""

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


@asynccontextmanager
async def exchange(name: str, answer: Answer) -> AsyncIterator[Played]:
    """`answer` gets every request there is."""
    played = Played(row_named(name))

    async def door(request: web.Request) -> web.StreamResponse:
        played.requests.append(request)
        played.times.append(time.monotonic())
        return await answer(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", door)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    played.row = dataclasses.replace(
        played.row, rest_url=f"http://127.0.0.1:{port}", ws_url=f"ws://127.0.0.1:{port}"
    )
    try:
        yield played
    finally:
        await runner.cleanup()


async def every_page(
    read: ReadPage, cursor: PageCursor, products: Mapping[str, Product]
) -> list[AccountPage]:
    pages: list[AccountPage] = []
    following: PageCursor | None = cursor
    while following is not None:
        pages.append(await read(following, products))
        following = pages[-1].next
    return pages


def reply(body: Any, status: int = 200, **headers: str) -> web.Response:
    return web.Response(
        text=json.dumps(body), status=status, content_type="application/json", headers=headers
    )


class Socket:
    """One WebSocket of a client, spoken to by hand."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._socket = web.WebSocketResponse()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        await self._socket.prepare(request)
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                self.received.put_nowait(json.loads(message.data))
        return self._socket

    async def told(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.received.get(), 60)

    async def send(self, frame: Any) -> None:
        await self._socket.send_str(json.dumps(frame))

    async def cut(self) -> None:
        await self._socket.close(code=1012)
