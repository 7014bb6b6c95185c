"""Binance's public REST interface with its request weights, as binance and binance_us speak it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from livermore_dagster.simulator.binance_feed import ticker_values
from livermore_dagster.simulator.faults import FaultBoard, FaultKind
from livermore_dagster.simulator.limits import Verdict, WeightWindow
from livermore_dagster.simulator.market import MINUTE_MS, Bar, SymbolPlan
from livermore_dagster.simulator.rest import Answer, Reply, Rest
from livermore_dagster.simulator.universe import Listing
from livermore_dagster.simulator.venue import INTERVALS, Venue, fixed

__all__ = ["BINANCE", "BINANCE_US", "BinanceRest", "Weights"]


@dataclass(frozen=True, slots=True)
class Weights:
    """Where binance and binance_us differ."""

    limit: int
    raw_limit: int
    klines: int
    exchange_info: int


BINANCE = Weights(limit=6000, raw_limit=61_000, klines=2, exchange_info=20)
BINANCE_US = Weights(limit=1200, raw_limit=6100, klines=1, exchange_info=10)


class _Refused(Exception):
    """A request the exchange answers with an error body."""

    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.reply = Reply({"code": code, "msg": text}, status)


class BinanceRest(Rest):
    def __init__(self, venue: Venue, faults: FaultBoard, counters: Counter[str], weights: Weights) -> None:
        super().__init__(venue, faults, counters)
        self.weights = weights
        self.window = WeightWindow(weights.limit)

    def routes(self) -> list[web.RouteDef]:
        table: tuple[tuple[str, str, Answer, Callable[[web.Request], int]], ...] = (
            ("ping", "/api/v3/ping", self._ping, lambda _: 1),
            ("time", "/api/v3/time", self._time, lambda _: 1),
            ("products", "/api/v3/exchangeInfo", self._exchange_info, lambda _: self.weights.exchange_info),
            ("candles", "/api/v3/klines", self._klines, lambda _: self.weights.klines),
            ("tickers", "/api/v3/ticker/24hr", self._tickers, self._ticker_weight),
        )
        return [web.get(path, self._door(name, answer, weight)) for name, path, answer, weight in table]

    def _door(
        self, endpoint: str, answer: Answer, weight: Callable[[web.Request], int]
    ) -> Callable[[web.Request], Any]:
        async def door(request: web.Request) -> web.Response:
            page = self.edge_error()
            if page is not None:
                return page
            reply: Reply | None = None
            try:
                cost = weight(request)
            except _Refused as refused:
                cost, reply = 1, refused.reply
            verdict = self._judge(cost)
            if verdict.status != 200:
                reply = _too_many(verdict, self.weights.limit)
            elif reply is None:
                try:
                    reply = Reply(await answer(request))
                except _Refused as refused:
                    reply = refused.reply
            used = (("X-MBX-USED-WEIGHT", str(verdict.used)), ("X-MBX-USED-WEIGHT-1M", str(verdict.used)))
            return await self.limited(
                endpoint, request, Reply(reply.body, reply.status, (*reply.headers, *used))
            )

        return door

    def _judge(self, cost: int) -> Verdict:
        foreign = self.faults.find(FaultKind.FOREIGN_WEIGHT)
        if foreign is not None and foreign.count is not None:
            self.window.eat(foreign.count)
            foreign.done = foreign.count
        ban = self.faults.find(FaultKind.BAN)
        if ban is not None:
            ban.done += 1
            self.window.ban(ban.ends - time.monotonic())
        verdict = self.window.take(cost)
        if verdict.status == 200 and self.faults.strike(FaultKind.RATE_LIMIT):
            return Verdict(429, verdict.used, 1.0)
        return verdict

    # --- answers ----------------------------------------------------------------------------------------
    async def _klines(self, request: web.Request) -> list[list[Any]]:
        symbol = self._symbol(request.query.get("symbol"))
        interval = request.query.get("interval")
        if interval is None:
            raise _Refused(
                -1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed."
            )
        if interval not in INTERVALS:
            raise _Refused(-1120, "Invalid interval.")
        minutes = INTERVALS[interval]
        step = minutes * MINUTE_MS
        limit = _whole(request, "limit") or 500
        if limit < 1:
            raise _Refused(-1130, "Data sent for parameter 'limit' is not valid.")
        limit = min(limit, 1000)
        start, end = _whole(request, "startTime"), _whole(request, "endTime")
        now = self.venue.clock.now_ms()
        asked_end = now if end is None else end
        end = now if end is None else min(end, now)
        if start is None:
            first = asked_first = end - end % step - (limit - 1) * step
        else:
            if start > end and request.query.get("endTime"):
                return []
            asked_first = -(-start // step) * step
            first = max(asked_first, self._born(symbol, step))
        self.note_candle_request(symbol, minutes, asked_first, min(asked_end + 1, first + limit * step))
        rows = await self.candle_rows(symbol, minutes, first, min(end + 1, first + limit * step))
        plan = self.venue.listings[symbol].plan
        return [_row(bar, step, plan) for bar in rows[:limit]]

    def _born(self, symbol: str, step: int) -> int:
        """Open of the bar that holds the listing: `limit` counts rows from there on."""
        listed = self.venue.listings[symbol].plan.listed_ms
        return listed - listed % step

    async def _ping(self, _: web.Request) -> dict[str, Any]:
        return {}

    async def _time(self, _: web.Request) -> dict[str, int]:
        return {"serverTime": self.server_now()}

    async def _exchange_info(self, request: web.Request) -> dict[str, Any]:
        status = request.query.get("symbolStatus")
        listings = self._chosen(request) or list(self.venue.listings.values())
        if status:
            listings = [item for item in listings if item.trading == (status == "TRADING")]
        raw = self.weights.raw_limit
        return {
            "timezone": "UTC",
            "serverTime": self.server_now(),
            "rateLimits": [
                _rate_limit("REQUEST_WEIGHT", "MINUTE", 1, self.window.limit),
                _rate_limit("ORDERS", "SECOND", 10, 100),
                _rate_limit("ORDERS", "DAY", 1, 200_000),
                _rate_limit("RAW_REQUESTS", "MINUTE", 5, raw),
            ],
            "exchangeFilters": [],
            "symbols": [_symbol_info(item) for item in listings],
        }

    async def _tickers(self, request: web.Request) -> Any:
        now = self.venue.clock.now_ms()
        chosen = self._chosen(request)
        single = "symbol" in request.query
        bodies = []
        for item in chosen or self.venue.listings.values():
            bodies.append(self._ticker(item.symbol, now))
            await asyncio.sleep(0)  # a whole list is too much work to keep the sockets waiting
        return bodies[0] if single else bodies

    def _ticker(self, symbol: str, now_ms: int) -> dict[str, Any]:
        values = ticker_values(self.venue, symbol, now_ms)
        return {**values, "lastPrice": values["lastPrice"] or "0.00000000"}

    def _ticker_weight(self, request: web.Request) -> int:
        count = len(self._chosen(request))
        if count == 0 or count > 100:
            return 80
        return 2 if count <= 20 else 40

    def _chosen(self, request: web.Request) -> list[Listing]:
        """Products named by `symbol` or `symbols`; empty when neither is given."""
        if "symbol" in request.query and "symbols" in request.query:
            raise _Refused(-1101, "Too many parameters; expected 'symbol' or 'symbols'.")
        if "symbol" in request.query:
            return [self.venue.listings[self._symbol(request.query["symbol"])]]
        if "symbols" not in request.query:
            return []
        try:
            names = json.loads(request.query["symbols"])
        except ValueError:
            names = None
        if not isinstance(names, list) or not names:
            raise _Refused(
                -1100,
                "Illegal characters found in parameter 'symbols'; legal range is "
                """'^\\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\\]$'.""",
            )
        return [self.venue.listings[self._symbol(str(name))] for name in names]

    def _symbol(self, name: str | None) -> str:
        if not name:
            raise _Refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        if not all(character.isascii() and (character.isalnum() or character in "-_.") for character in name):
            raise _Refused(
                -1100,
                "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.",
            )
        if name not in self.venue.listings:
            raise _Refused(-1121, "Invalid symbol.")
        return name


def _whole(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 15:
        raise _Refused(
            -1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."
        )
    return int(text)


def _too_many(verdict: Verdict, limit: int) -> Reply:
    seconds = max(1, int(verdict.retry_after_s + 0.999))
    if verdict.status == 418:
        text = (
            f"Way too much request weight used; IP banned until {verdict.banned_until_ms}. "
            "Please use WebSocket Streams for live updates to avoid bans."
        )
    else:
        text = (
            f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API."
        )
    return Reply({"code": -1003, "msg": text}, verdict.status, (("Retry-After", str(seconds)),))


def _row(bar: Bar, step: int, plan: SymbolPlan) -> list[Any]:
    price, lot = plan.price_decimals, plan.lot_decimals
    return [
        bar.open_ms,
        fixed(bar.open, price, 8),
        fixed(bar.high, price, 8),
        fixed(bar.low, price, 8),
        fixed(bar.close, price, 8),
        fixed(bar.lots, lot, 8),
        bar.open_ms + step - 1,
        fixed(bar.quote, price + lot, 8),
        bar.trades,
        fixed(bar.lots // 2, lot, 8),
        fixed(bar.quote // 2, price + lot, 8),
        "0",
    ]


def _rate_limit(kind: str, interval: str, number: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


def _symbol_info(item: Listing) -> dict[str, Any]:
    plan = item.plan
    tick, step = fixed(1, plan.price_decimals, 8), fixed(1, plan.lot_decimals, 8)
    return {
        "symbol": item.symbol,
        "status": "TRADING" if item.trading else "BREAK",
        "baseAsset": item.base,
        "baseAssetPrecision": 8,
        "quoteAsset": item.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "isSpotTradingAllowed": item.trading,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": tick,
                "maxPrice": "1000000.00000000",
                "tickSize": tick,
            },
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000.00000000", "stepSize": step},
            {
                "filterType": "NOTIONAL",
                "minNotional": "5.00000000",
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
        ],
        "permissions": ["SPOT"],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }
