"""Coinbase Advanced Trade's public REST interface."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from aiohttp import web

from livermore_dagster.market.candle import canonical
from livermore_dagster.simulator.coinbase_feed import price_text, rfc3339, size_text
from livermore_dagster.simulator.faults import FaultBoard, FaultKind
from livermore_dagster.simulator.limits import RequestBucket
from livermore_dagster.simulator.market import MINUTE_MS
from livermore_dagster.simulator.rest import Answer, Reply, Rest, reply_of, title_of
from livermore_dagster.simulator.universe import Listing
from livermore_dagster.simulator.venue import Venue, fixed

__all__ = ["CoinbaseRest"]

_GRANULARITIES = {
    "ONE_MINUTE": 1, "FIVE_MINUTE": 5, "FIFTEEN_MINUTE": 15, "THIRTY_MINUTE": 30, "ONE_HOUR": 60,
    "TWO_HOUR": 120, "FOUR_HOUR": 240, "SIX_HOUR": 360, "ONE_DAY": 1440,
}  # fmt: skip
_ROWS = 350
_PREFIX = "/api/v3/brokerage"
_BAN_STEP_S = 10.0
_UNDER_WAY_S = 1.0
_PATHS = {"time": "time", "products": "products", "candles": "candles"}
_TOO_MANY: dict[str, Any] = {
    "errors": {"errors": [{"id": "rate_limit_exceeded", "message": "Too many requests"}]},
    "grpc": {
        "error": "RESOURCE_EXHAUSTED",
        "code": 8,
        "message": "rpc error: code = ResourceExhausted desc = too many requests",
        "error_details": "too many requests",
    },
}


class _Refused(Exception):
    """A request the exchange answers with an error body."""

    def __init__(self, status: int, error: str, text: str) -> None:
        super().__init__(text)
        self.reply = Reply({"error": error, "error_details": text, "message": text}, status)


class CoinbaseRest(Rest):
    """Ten requests a second, as a bucket of ten; candles without empty intervals, newest first."""

    error_body = b'{"error":"INTERNAL","error_details":"","message":"internal error"}'

    def __init__(self, venue: Venue, faults: FaultBoard, counters: Counter[str], *, four_hour: bool) -> None:
        super().__init__(venue, faults, counters)
        self.four_hour = four_hour
        self.bucket = RequestBucket(rate=10.0, burst=10.0)
        self._told_of_ban: dict[int, float] = {}
        """Monotonic seconds at which a ban (id of its fault) first refused anything."""
        self.private_rate = 30.0
        """Signed requests a second, for each key."""

    def edge_page(self, status: int) -> str:
        """Cloudflare's; a banned address is told error 1015."""
        what = "error code: 1015" if status == 429 else title_of(status)
        return (
            "<!DOCTYPE html><html><head><title>Access denied | Cloudflare restricts access"
            f"</title></head><body><h1>{what}</h1><p>Cloudflare Ray ID</p></body></html>"
        )

    def endpoint_of(self, path: str) -> str:
        if not path.startswith((f"{_PREFIX}/market/", f"{_PREFIX}/time")):
            return "account"
        return _PATHS.get(path.rpartition("/")[2], "product")

    def routes(self) -> list[web.RouteDef]:
        market = f"{_PREFIX}/market/products"
        return [
            web.get(f"{_PREFIX}/time", self.door("time", self._time)),
            web.get(market, self.door("products", self.products)),
            web.get(f"{market}/{{id}}", self.door("product", self.product)),
            web.get(f"{market}/{{id}}/candles", self.door("candles", self._candles)),
        ]

    def door(
        self,
        endpoint: str,
        answer: Answer,
        bucket_of: Callable[[web.Request], RequestBucket] | None = None,
    ) -> Callable[[web.Request], Any]:
        """A handler that limits the request, by a bucket of its own where one is given, and counts it."""

        async def door(request: web.Request) -> web.StreamResponse:
            bucket = self.bucket if bucket_of is None else bucket_of(request)
            banned = self._ban_page()
            if banned is not None:
                return await self.limited(endpoint, request, banned)
            refused = self.faults.strike(FaultKind.RATE_LIMIT, endpoint=endpoint)
            taken = bucket.take()
            foreign = self.faults.find(FaultKind.FOREIGN_WEIGHT)
            if foreign is not None and foreign.count is not None:
                bucket.eat(foreign.count)
                self.faults.note(foreign, foreign.count)
            if taken.status != 200 or refused is not None:
                reply = Reply(_TOO_MANY["errors" if refused is None else str(refused.own["form"])], 429)
            else:
                try:
                    reply = reply_of(await answer(request))
                except _Refused as error:
                    reply = error.reply
            headers = (
                ("x-ratelimit-limit", f"{bucket.rate:g}"),
                ("x-ratelimit-remaining", str(bucket.remaining)),
                ("x-ratelimit-reset", "1"),
            )
            return await self.limited(endpoint, request, replace(reply, headers=headers))

        return door

    def _ban_page(self) -> Reply | None:
        """The edge's page for a banned address. Each request during the ban makes it ten seconds longer, but
        for those that were under way before the first refusal could be read."""
        ban = self.faults.strike(FaultKind.BAN)
        if ban is None:
            return None
        told = self._told_of_ban.setdefault(ban.id, time.monotonic())
        if ban.count is None and time.monotonic() - told > _UNDER_WAY_S:
            ban.duration_s += _BAN_STEP_S
        return Reply(self.edge_page(429), 429, is_html=True)

    async def _time(self, _: web.Request) -> dict[str, str]:
        now = self.server_now()
        iso = f"{rfc3339(now)[:19]}Z"
        return {"iso": iso, "epochSeconds": str(now // 1000), "epochMillis": str(now)}

    # --- products ---------------------------------------------------------------------------------------
    async def products(self, request: web.Request) -> dict[str, Any]:
        kind = request.query.get("product_type", "")
        if kind not in ("", "SPOT", "UNKNOWN_PRODUCT_TYPE", "FUTURE"):
            raise _Refused(400, "INVALID_ARGUMENT", "product_type argument is invalid")
        listings = [] if kind == "FUTURE" else self.venue.visible()
        wanted = request.query.getall("product_ids", [])
        if wanted:
            listings = [item for item in listings if item.symbol in wanted]
        offset, limit = _whole(request, "offset") or 0, _whole(request, "limit")
        page = listings[offset : None if limit is None else offset + limit]
        now = self.venue.clock.now_ms()
        described = []
        for item in page:
            described.append(self._describe(item, now))
            await asyncio.sleep(0)  # a whole list is too much work to keep the sockets waiting
        return {"products": described, "num_products": len(page)}

    async def product(self, request: web.Request) -> dict[str, Any]:
        return self._describe(self._listing(request), self.venue.clock.now_ms())

    def _listing(self, request: web.Request) -> Listing:
        found = self.venue.listings.get(request.match_info["id"])
        if found is None or not self.venue.is_visible(found):
            raise _Refused(404, "NOT_FOUND", "valid product_id is required")
        return found

    def _describe(self, item: Listing, now_ms: int) -> dict[str, Any]:
        plan = item.plan
        day = self.venue.day(item.symbol, now_ms)
        change = f"{100.0 * (day.last - day.open) / day.open:.14f}" if day.open else ""
        tick = canonical(fixed(1, plan.price_decimals, plan.price_decimals))
        step = canonical(fixed(1, plan.lot_decimals, max(1, plan.lot_decimals)))
        return {
            "product_id": item.symbol,
            "price": price_text(day.last, plan) if day.last else "",
            "price_percentage_change_24h": change,
            "volume_24h": canonical(f"{self.venue.quote_volume(item) / plan.price:.8f}"),
            "volume_percentage_change_24h": "1.25",
            "base_increment": step,
            "quote_increment": tick,
            "quote_min_size": "1",
            "quote_max_size": "50000000",
            "base_min_size": step,
            "base_max_size": size_text(int(plan.mean_lots * 1e5) + 1, plan),
            "base_name": item.name,
            "quote_name": {"USD": "US Dollar", "USDC": "USDC", "EUR": "Euro"}.get(item.quote, item.quote),
            "watched": False,
            "is_disabled": False,
            "new": item.kind == "listed",
            "status": "online",
            "cancel_only": False,
            "limit_only": False,
            "post_only": False,
            "trading_disabled": not self.venue.is_trading(item),
            "auction_mode": False,
            "product_type": "SPOT",
            "quote_currency_id": item.quote,
            "base_currency_id": item.base,
            "fcm_trading_session_details": None,
            "mid_market_price": "",
            "alias": item.alias_of,
            "alias_to": [
                other.symbol for other in self.venue.listings.values() if other.alias_of == item.symbol
            ],
            "base_display_symbol": item.base,
            "quote_display_symbol": item.quote,
            "view_only": False,
            "price_increment": tick,
            "display_name": item.symbol,
            "product_venue": "CBE",
            "approximate_quote_24h_volume": canonical(f"{self.venue.quote_volume(item):.2f}"),
        }

    # --- candles ----------------------------------------------------------------------------------------
    async def _candles(self, request: web.Request) -> dict[str, Any]:
        item = self._listing(request)
        minutes = _GRANULARITIES.get(request.query.get("granularity", ""))
        if minutes is None or (minutes == 240 and not self.four_hour):
            raise _Refused(400, "INVALID_ARGUMENT", "granularity argument is invalid")
        start, end = _whole(request, "start"), _whole(request, "end")
        if start is None or end is None or end < start:
            raise _Refused(400, "INVALID_ARGUMENT", "start and end arguments are invalid")
        limit = _whole(request, "limit")
        if limit is not None and not 1 <= limit <= _ROWS:
            raise _Refused(400, "INVALID_ARGUMENT", f"limit must be between 1 and {_ROWS}")
        step = minutes * MINUTE_MS
        # Both edges belong to the page: a span of 350 steps on the grid would hold 351 candles.
        first = -(-start * 1000 // step) * step
        if (end * 1000 - first) // step + 1 > _ROWS:
            raise _Refused(
                400, "INVALID_ARGUMENT", f"number of candles requested should be less than {_ROWS}"
            )
        symbol, plan = self.venue.canonical_symbol(item.symbol), item.plan
        self.note_candle_request(symbol, minutes, first, end * 1000 + 1)
        rows = await self.candle_rows(request, symbol, minutes, first, end * 1000 + 1)
        return {
            "candles": [
                {
                    "start": str(bar.open_ms // 1000),
                    "low": price_text(bar.low, plan),
                    "high": price_text(bar.high, plan),
                    "open": price_text(bar.open, plan),
                    "close": price_text(bar.close, plan),
                    "volume": size_text(bar.lots, plan),
                }
                for bar in reversed(rows[-limit:] if limit else rows)
            ]
        }


def _whole(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 12:
        raise _Refused(400, "INVALID_ARGUMENT", f"{name} argument is invalid")
    return int(text)
