"""What every simulated REST interface has in common: counting, limits, faults, errors."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from livermore_dagster.simulator.bars import Bar
from livermore_dagster.simulator.candle_faults import CandlesUnderFaults
from livermore_dagster.simulator.faults import FaultBoard
from livermore_dagster.simulator.venue import INTERVALS, Venue

__all__ = ["ARRIVED", "Answer", "CandleRequest", "Reply", "Rest", "reply_of", "title_of"]

Answer = Callable[[web.Request], Awaitable[Any]]
ARRIVED = web.RequestKey("arrived", float)
"""Monotonic seconds at which a request came, however late it is answered."""
_CANDLE_REQUESTS_KEPT = 20_000
_UNDER_WAY_S = 1.0
"""A request that came so soon after a refusal had left its client before that could be read."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a body to be sent as JSON (or a page, or bytes as plain text), its status, its headers."""

    body: Any
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    is_html: bool = False
    """The body is a page's text."""
    cut: bool = False
    """The connection ends in the middle of the body."""

    def response(self) -> web.Response:
        if self.is_html:
            headers = dict(self.headers)
            return web.Response(text=self.body, status=self.status, headers=headers, content_type="text/html")
        if isinstance(self.body, bytes):
            headers = dict(self.headers)
            return web.Response(
                body=self.body, status=self.status, headers=headers, content_type="text/plain"
            )
        return web.Response(
            body=msgspec.json.encode(self.body),
            status=self.status,
            headers=dict(self.headers),
            content_type="application/json",
        )


def reply_of(answer: Any) -> Reply:
    """What an endpoint gave: a body, or a whole reply where it is no plain success."""
    return answer if isinstance(answer, Reply) else Reply(answer)


async def _cut_short(request: web.Request, whole: web.Response) -> web.StreamResponse:
    """Announces the whole body, sends half of it, and cuts the connection."""
    body = whole.body if isinstance(whole.body, bytes) else b""
    response = web.StreamResponse(headers={"Content-Length": str(len(body))})
    response.content_type = "application/json"
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


@dataclass(frozen=True, slots=True)
class CandleRequest:
    """What one answered candle request asked for: bars that open in [start_ms, end_ms)."""

    number: int
    """Counts from 1 since the simulator began."""
    symbol: str
    timeframe: str
    start_ms: int
    end_ms: int
    at_ms: int
    """Market time of the request."""


class Rest(ABC):
    """One exchange's REST interface."""

    def __init__(self, venue: Venue, faults: FaultBoard, counters: Counter[str]) -> None:
        self.venue, self.faults, self.counters = venue, faults, counters
        self.candle_requests: deque[CandleRequest] = deque(maxlen=_CANDLE_REQUESTS_KEPT)
        """The newest, oldest first."""
        self._candle_requests = 0
        self._refused_at = -_UNDER_WAY_S

    error_body: bytes
    """What the exchange sends with HTTP 200 when it failed inside."""

    @abstractmethod
    def edge_page(self, status: int) -> str:
        """The HTML page of the exchange's edge."""

    @abstractmethod
    def endpoint_of(self, path: str) -> str:
        """The name faults are aimed at, and requests counted by."""

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """Paths of the public interface."""

    async def limited(self, endpoint: str, request: web.Request, answer: Reply) -> web.StreamResponse:
        """Counts what was answered."""
        self.counters["requests"] += 1
        self.counters[f"requests:{endpoint}"] += 1
        if answer.status in (429, 418):
            self.counters[f"http_{answer.status}"] += 1
            self._note_refusal(request.get(ARRIVED, time.monotonic()))
        if answer.status >= 400:
            self.counters["errors"] += 1
        response = answer.response()
        return await _cut_short(request, response) if answer.cut else response

    def _note_refusal(self, arrived: float) -> None:
        """Counts refusals, those together as one that no client could have told from the first."""
        if arrived - self._refused_at >= _UNDER_WAY_S:
            self.counters["refusals"] += 1
            self._refused_at = time.monotonic()

    def note_candle_request(self, symbol: str, minutes: int, start_ms: int, end_ms: int) -> None:
        """Keeps what was asked; `start_ms` and `end_ms` bound opens, the end is not included."""
        self._candle_requests += 1
        timeframe = next(name for name, length in INTERVALS.items() if length == minutes)
        self.candle_requests.append(
            CandleRequest(
                self._candle_requests, symbol, timeframe, start_ms, end_ms, self.venue.clock.now_ms()
            )
        )

    def server_now(self) -> int:
        """The time the exchange states."""
        return self.venue.clock.now_ms() + self.faults.skew_ms("rest")

    async def candle_rows(
        self, request: web.Request, symbol: str, minutes: int, start_ms: int, end_ms: int
    ) -> list[Bar]:
        """Rows as REST shows them now, active faults included."""
        await self.venue.prepare(symbol, minutes, start_ms, end_ms)
        now = self.venue.clock.now_ms()
        if self.faults.is_quiet:
            return self.venue.rows(symbol, minutes, start_ms, end_ms, now)
        return CandlesUnderFaults(self.venue, self.faults, symbol, minutes).rows(
            request, start_ms, end_ms, now
        )


def title_of(status: int) -> str:
    """'403 Forbidden'; of statuses of the edge's own only the number."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
