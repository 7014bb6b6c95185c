"""The simulator's own door: what was asked of an exchange, the truth of its market, and faults to order."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from livermore_dagster.market.timeframe import TIMEFRAMES
from livermore_dagster.simulator.events import BadEvent
from livermore_dagster.simulator.faults import BadFault, Fault, FaultKind
from livermore_dagster.simulator.market import MINUTE_MS
from livermore_dagster.simulator.storm import checked_storm
from livermore_dagster.simulator.venue import INTERVALS

if TYPE_CHECKING:
    from livermore_dagster.simulator.server import PlayedExchange

__all__ = ["CONTROL_BODY_LIMIT", "control_routes"]

CONTROL_BODY_LIMIT = 16_384
_TRUTH_ROWS = 20_000
_DEFAULT_TRUTH_ROWS = 300


class _Bad(Exception):
    """A control request that cannot be answered; the text says why."""


def control_routes(played: PlayedExchange) -> list[web.RouteDef]:
    door = _Control(played)
    return [
        web.get("/control", door.wrap(door.index)),
        web.get("/control/", door.wrap(door.index)),
        web.get("/control/counters", door.wrap(door.counters)),
        web.get("/control/clock", door.wrap(door.clock)),
        web.get("/control/symbols", door.wrap(door.symbols)),
        web.get("/control/truth", door.wrap(door.truth)),
        web.get("/control/requests", door.wrap(door.requests)),
        web.get("/control/connections", door.wrap(door.connections)),
        web.get("/control/faults", door.wrap(door.faults)),
        web.post("/control/faults", door.wrap(door.order_fault)),
        web.get("/control/market", door.wrap(door.market)),
        web.post("/control/market", door.wrap(door.order_event)),
        web.post("/control/storm", door.wrap(door.order_storm)),
        web.get("/control/settings", door.wrap(door.settings)),
        web.post("/control/settings", door.wrap(door.change_settings)),
    ]


class _Control:
    def __init__(self, played: PlayedExchange) -> None:
        self.played = played

    def wrap(
        self, answer: Callable[[web.Request], Awaitable[Any]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def door(request: web.Request) -> web.Response:
            try:
                return _json(await answer(request))
            except (_Bad, BadFault, BadEvent) as error:
                return _json({"error": str(error)}, 400)

        return door

    async def index(self, _: web.Request) -> dict[str, Any]:
        return {
            "exchange": self.played.name,
            "get": [
                "counters", "clock", "symbols", "truth", "requests", "connections", "faults",
                "market", "settings", "accounts", "account-truth",
            ],
            "post": ["faults", "storm", "market", "settings", "accounts", "fill"],
            "fault_kinds": [kind.value for kind in FaultKind],
        }  # fmt: skip

    async def counters(self, _: web.Request) -> dict[str, Any]:
        counters, feed = self.played.counters, self.played.feed
        endpoints = {
            name.partition(":")[2]: count for name, count in counters.items() if name.startswith("requests:")
        }
        names = (
            "requests", "http_429", "http_418", "errors", "error_pages", "ws_connections", "ws_refused",
            "ws_messages", "ws_rate_cuts", "ws_cuts", "frames", "frames_candles", "frames_ticker",
            "error_bodies", "cut_replies",
        )  # fmt: skip
        return {
            "exchange": self.played.name,
            **{name: counters[name] for name in names},
            "requests_by_endpoint": endpoints,
            "ws_open": len(feed.connections),
            "subscriptions": sum(len(connection.streams) for connection in feed.connections.values()),
            "faults_ordered": self.played.faults.ordered,
            "faults_done": self.played.faults.done.total(),
            "faults_done_by_kind": {kind.value: self.played.faults.done[kind.value] for kind in FaultKind},
        }

    async def clock(self, _: web.Request) -> dict[str, Any]:
        clock = self.played.venue.clock
        return {
            "now_ms": clock.now_ms(),
            "origin_ms": clock.origin_ms,
            "speed": self.played.speed,
            "seed": self.played.venue.seed,
        }

    async def symbols(self, _: web.Request) -> list[dict[str, Any]]:
        return [
            {
                "symbol": item.symbol,
                "kind": item.kind,
                "base": item.base,
                "quote": item.quote,
                "trading": self.played.venue.is_trading(item),
                "visible": self.played.venue.is_visible(item),
                "alias_of": item.alias_of or None,
                "quote_volume_24h": self.played.venue.quote_volume(item),
                "listed_ms": item.plan.listed_ms,
                "silent": item.plan.silent,
                "quote_stall": item.quote_stall,
            }
            for item in self.played.venue.listings.values()
        ]

    async def truth(self, request: web.Request) -> dict[str, Any]:
        symbol, timeframe = request.query.get("symbol", ""), request.query.get("timeframe", "")
        if symbol not in self.played.venue.listings:
            raise _Bad(f"unknown symbol {symbol!r}; GET control/symbols lists them")
        if timeframe not in {tf.value for tf in TIMEFRAMES}:
            raise _Bad(f"unknown timeframe {timeframe!r}; there are {', '.join(TIMEFRAMES)}")
        minutes = INTERVALS[timeframe]
        step = minutes * MINUTE_MS
        now = self.played.venue.clock.now_ms()
        end = _milliseconds(request, "end", now)
        start = _milliseconds(request, "start", end - _DEFAULT_TRUTH_ROWS * step)
        if (end - start) // step > _TRUTH_ROWS:
            raise _Bad(f"at most {_TRUTH_ROWS} bars at once, {(end - start) // step} asked")
        await self.played.venue.prepare(symbol, minutes, start, end)
        candles = self.played.venue.truth(symbol, minutes, start, end)
        return {
            "exchange": self.played.name,
            "symbol": symbol,
            "timeframe": timeframe,
            "now_ms": now,
            "candles": [candle for candle in candles if int(candle["open_ms"]) + step <= now],
        }

    async def requests(self, request: web.Request) -> dict[str, Any]:
        after = _milliseconds(request, "after", 0)
        kept = self.played.rest.candle_requests
        return {
            "exchange": self.played.name,
            "total": kept[-1].number if kept else 0,
            "requests": [one for one in kept if one.number > after],
        }

    async def connections(self, _: web.Request) -> list[dict[str, Any]]:
        return [
            {
                "id": connection.id,
                "streams": sorted(connection.streams),
                "heartbeats": connection.heartbeats,
                "sent": connection.sent,
            }
            for connection in self.played.feed.connections.values()
        ]

    async def faults(self, _: web.Request) -> list[dict[str, Any]]:
        return [self._shown(fault) for fault in self.played.faults.faults]

    async def order_fault(self, request: web.Request) -> dict[str, Any]:
        return self._shown(self.played.order(await _object(request)))

    async def market(self, _: web.Request) -> list[dict[str, Any]]:
        return [event.as_json() for event in self.played.venue.fate.events]

    async def order_event(self, request: web.Request) -> dict[str, Any]:
        return self.played.befall(await _object(request)).as_json()

    async def order_storm(self, request: web.Request) -> dict[str, Any]:
        storm = checked_storm(await _object(request), self.played.venue.listings)
        return {
            "exchange": self.played.name,
            "seed": storm.seed,
            "duration_s": storm.duration_s,
            "intensity": storm.intensity,
            "orders": self.played.storm(storm),
        }

    def _shown(self, fault: Fault) -> dict[str, Any]:
        return fault.as_json(time.monotonic(), self.played.venue.clock.now_ms())

    async def settings(self, _: web.Request) -> dict[str, Any]:
        return self.played.settings()

    async def change_settings(self, request: web.Request) -> dict[str, Any]:
        wanted = await _object(request)
        known = self.played.settings()
        for name, value in wanted.items():
            if name not in known:
                raise _Bad(f"unknown setting {name!r}; there are {', '.join(known)}")
            expects_bool = isinstance(known[name], bool)
            if isinstance(value, bool) is not expects_bool or not isinstance(value, bool | int | float):
                raise _Bad(f"{name} must be {'true or false' if expects_bool else 'a number'}, not {value!r}")
            if not expects_bool and not 0 < value <= 1e9:
                raise _Bad(f"{name} must be positive, not {value!r}")
        self.played.change(wanted)
        return self.played.settings()


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except (ValueError, UnicodeDecodeError) as error:
        raise _Bad(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise _Bad("the body must be a JSON object")
    return body


def _milliseconds(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 14:
        raise _Bad(f"{name} must be epoch milliseconds, not {text!r}")
    return int(text)


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
