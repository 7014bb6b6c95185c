"""What every simulated REST interface has in common: counting, limits, faults, errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from aiohttp import web

from livermore_dagster.simulator.faults import FaultBoard, FaultKind
from livermore_dagster.simulator.market import MINUTE_MS, Bar
from livermore_dagster.simulator.venue import INTERVALS, Venue

__all__ = ["Answer", "CandleRequest", "Reply", "Rest"]

Answer = Callable[[web.Request], Awaitable[Any]]
_CANDLE_REQUESTS_KEPT = 20_000

_EDGE_PAGE = "<html><head><title>503 Service Unavailable</title></head><body><h1>503</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a body to be sent as JSON, its status, its headers."""

    body: Any
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()

    def response(self) -> web.Response:
        return web.Response(
            body=msgspec.json.encode(self.body),
            status=self.status,
            headers=dict(self.headers),
            content_type="application/json",
        )


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

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """Paths of the public interface."""

    async def limited(self, endpoint: str, request: web.Request, answer: Reply) -> web.Response:
        """Counts what was answered."""
        self.counters["requests"] += 1
        self.counters[f"requests:{endpoint}"] += 1
        if answer.status in (429, 418):
            self.counters[f"http_{answer.status}"] += 1
        if answer.status >= 400:
            self.counters["errors"] += 1
        return answer.response()

    def note_candle_request(self, symbol: str, minutes: int, start_ms: int, end_ms: int) -> None:
        """Keeps what was asked; `start_ms` and `end_ms` bound opens, the end is not included."""
        self._candle_requests += 1
        timeframe = next(name for name, length in INTERVALS.items() if length == minutes)
        self.candle_requests.append(
            CandleRequest(
                self._candle_requests, symbol, timeframe, start_ms, end_ms, self.venue.clock.now_ms()
            )
        )

    def edge_error(self) -> web.Response | None:
        """The page of the exchange's edge, while such a fault is active."""
        if not self.faults.strike(FaultKind.ERROR_PAGE):
            return None
        self.counters["requests"] += 1
        self.counters["error_pages"] += 1
        return web.Response(text=_EDGE_PAGE, status=503, content_type="text/html")

    def server_now(self) -> int:
        """The time the exchange states."""
        fault = self.faults.find(FaultKind.SKEW)
        if fault is None:
            return self.venue.clock.now_ms()
        fault.done += 1
        return self.venue.clock.now_ms() + fault.skew_ms

    async def candle_rows(self, symbol: str, minutes: int, start_ms: int, end_ms: int) -> list[Bar]:
        """Rows as REST shows them now, active faults included."""
        await self.venue.prepare(symbol, minutes, start_ms, end_ms)
        now = self.venue.clock.now_ms()
        rows = self.venue.rows(symbol, minutes, start_ms, end_ms, now)
        newest = now - now % (minutes * MINUTE_MS) - minutes * MINUTE_MS
        if not any(row.open_ms == newest for row in rows):
            return rows
        if self.faults.strike(FaultKind.LATE_ROW, symbol=symbol):
            return [row for row in rows if row.open_ms != newest]
        if self.faults.strike(FaultKind.REVISE, symbol=symbol):
            return [
                replace(row, lots=row.lots // 2, quote=row.quote // 2) if row.open_ms == newest else row
                for row in rows
            ]
        return rows
