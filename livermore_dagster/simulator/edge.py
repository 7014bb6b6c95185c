"""What stands before an exchange's REST interface: its edge, with the faults that hide what is behind it."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from livermore_dagster.simulator.candle_faults import STALE_MS
from livermore_dagster.simulator.faults import FaultKind
from livermore_dagster.simulator.rest import ARRIVED, Rest

__all__ = ["edge_of"]


def edge_of(rest: Rest) -> Middleware:
    """The middleware every REST request of the exchange passes; the control door and sockets pass by."""

    @web.middleware
    async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(("/api/", "/sapi/")):
            return await handler(request)
        request[ARRIVED] = time.monotonic()
        return await _Passage(rest, request).answer(handler)

    return edge


class _Passage:
    """One request on its way in and out."""

    def __init__(self, rest: Rest, request: web.Request) -> None:
        self.rest, self.request = rest, request
        self.endpoint = rest.endpoint_of(request.path)

    def _strike(self, kind: FaultKind) -> bool:
        return self.rest.faults.strike(kind, endpoint=self.endpoint) is not None

    async def answer(self, handler: Handler) -> web.StreamResponse:
        faults = self.rest.faults
        if self.rest.venue.is_dark():
            return self._page(503)
        if faults.is_quiet:
            return self._dated(await handler(self.request))
        slow = faults.strike(FaultKind.SLOW_REPLY, endpoint=self.endpoint)
        if slow is not None:
            await asyncio.sleep(float(slow.own["delay_s"]))
        if self._strike(FaultKind.CUT_REPLY):
            return self._cut()
        page = faults.strike(FaultKind.ERROR_PAGE, endpoint=self.endpoint)
        if page is not None:
            return self._page(int(page.own["status"]))
        if self._strike(FaultKind.ERROR_BODY):
            self._count("error_bodies")
            return self._dated(web.Response(body=self.rest.error_body, content_type="application/json"))
        response = cast("web.Response", await handler(self.request))
        if response.status == 200 and self._strike(FaultKind.BROKEN_BODY):
            body = cast("bytes", response.body)
            response.body = body[: len(body) // 2]
        return self._dated(response)

    def _cut(self) -> web.Response:
        self._count("cut_replies")
        if self.request.transport is not None:
            self.request.transport.abort()
        return web.Response(status=503)

    def _page(self, status: int) -> web.StreamResponse:
        self._count("error_pages")
        text = self.rest.edge_page(status)
        return self._dated(web.Response(text=text, status=status, content_type="text/html"))

    def _count(self, name: str) -> None:
        """What never came to the interface, which counts its own."""
        counters = self.rest.counters
        counters["requests"] += 1
        counters[f"requests:{self.endpoint}"] += 1
        counters[name] += 1

    def _dated(self, response: web.StreamResponse) -> web.StreamResponse:
        """Dated by the exchange's clock; a page from a cache by the moment it was made, with its age."""
        age_ms = self.request.get(STALE_MS, 0)
        now_ms = self.rest.server_now()
        response.headers["Date"] = formatdate((now_ms - age_ms) / 1000, usegmt=True)
        if age_ms:
            response.headers["Age"] = str(age_ms // 1000)
        return response
