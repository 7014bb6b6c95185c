"""Binance's market streams, as binance and binance_us speak them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from livermore_dagster.simulator.bars import Bar
from livermore_dagster.simulator.faults import Aim, FaultBoard, FaultKind
from livermore_dagster.simulator.feed import Feed, FeedSettings
from livermore_dagster.simulator.market import MINUTE_MS
from livermore_dagster.simulator.outgoing import Connection, Frame
from livermore_dagster.simulator.venue import DAY_MS, INTERVALS, Venue, fixed

if TYPE_CHECKING:
    from livermore_dagster.simulator.accounts.binance_stream import BinanceUserStream

__all__ = ["WS_API_PATH", "BinanceFeed", "ticker_values"]

WS_API_PATH = "/ws-api/v3"
"""Where Binance's WebSocket API answers; here it only carries the user data stream."""

_STREAMS_PER_CONNECTION = 1024
_SHUTDOWN = '{{"e":"serverShutdown","E":{stamp}}}'


class BinanceFeed(Feed):
    """Kline and ticker streams; both the raw (/ws) and the combined (/stream) form."""

    def __init__(
        self, venue: Venue, faults: FaultBoard, counters: Counter[str], settings: FeedSettings
    ) -> None:
        super().__init__(venue, faults, counters, settings)
        self._subscribers: dict[str, set[Connection]] = {}
        self._klines: dict[str, dict[str, int]] = {}
        """Symbol -> interval -> minutes, of what anyone has subscribed."""
        self._shown: dict[tuple[str, str], tuple[int, int]] = {}
        """Open and trade count of the candle last sent per symbol and interval."""
        self.users: BinanceUserStream | None = None

    # --- subscriptions ----------------------------------------------------------------------------------
    def opened(self, connection: Connection, request: web.Request) -> None:
        if request.path.startswith(WS_API_PATH):
            connection.is_api = True
            return
        connection.combined = request.path.startswith("/stream")
        if connection.combined:
            names = [name for name in request.query.get("streams", "").split("/") if name]
        else:
            names = [name for name in request.path.removeprefix("/ws").split("/") if name]
        if names:
            self._subscribe(connection, names)

    def received(self, connection: Connection, text: str) -> None:
        if connection.is_api and self.users is not None:
            answer = self.users.answer(connection, text)
        else:
            answer = self._answer(connection, text)
        connection.send(Frame(answer, is_answer=True))

    def _answer(self, connection: Connection, text: str) -> str:
        try:
            message = json.loads(text)
        except ValueError as error:
            return _error(3, f"Invalid JSON: {error}", None)
        if not isinstance(message, dict):
            return _error(2, "Invalid request: request must be an object", None)
        method, params, request_id = message.get("method"), message.get("params", []), message.get("id")
        match method:
            case "SUBSCRIBE" | "UNSUBSCRIBE":
                if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
                    return _error(2, "Invalid request: params must be a list of strings", request_id)
                if method == "SUBSCRIBE" and connection.strikes(FaultKind.REJECT_SUBSCRIPTION):
                    return _error(
                        -1000, "An unknown error occurred while processing the request.", request_id
                    )
                act = self._subscribe if method == "SUBSCRIBE" else self._unsubscribe
                if not act(connection, params):
                    return _error(2, "Invalid request: too many streams on one connection", request_id)
                result: Any = None
            case "LIST_SUBSCRIPTIONS":
                result = sorted(connection.streams)
            case "SET_PROPERTY" if isinstance(params, list) and len(params) == 2 and params[0] == "combined":
                connection.combined, result = bool(params[1]), None
            case "GET_PROPERTY":
                result = connection.combined
            case _:
                return _error(2, f"Invalid request: unknown variant `{method}`", request_id)
        return json.dumps({"result": result, "id": request_id}, separators=(",", ":"))

    def _subscribe(self, connection: Connection, names: list[str]) -> bool:
        if len(connection.streams | set(names)) > _STREAMS_PER_CONNECTION:
            return False
        self.stamp()
        for name in names:
            if self.users is not None and self.users.join(connection, name):
                connection.streams.add(name)
                continue
            symbol, _, interval = self._parse(name)
            if self.faults.strike(FaultKind.REFUSE_SUBSCRIPTION, symbol=symbol, connection=connection.id):
                continue
            # The next update is for everyone: only what is sent at once can be stale for one.
            if symbol and interval and name not in connection.streams:
                self._send_stale(connection, symbol, interval)
            connection.streams.add(name)
            # An unknown stream is acknowledged and stays silent, as on the exchange.
            self._subscribers.setdefault(name, set()).add(connection)
            if symbol and interval:
                self._klines.setdefault(symbol, {})[interval] = INTERVALS[interval]
                self._shown.pop((symbol, interval), None)
        return True

    def _unsubscribe(self, connection: Connection, names: list[str]) -> bool:
        for name in names:
            self.forget(connection, name)
        return True

    def forget(self, connection: Connection, stream: str) -> None:
        connection.streams.discard(stream)
        self._leave(connection, stream)

    def stream_aim(self, stream: str) -> Aim:
        symbol, kind, interval = self._parse(stream)
        return Aim(symbol=symbol, channel="candles" if interval else kind, timeframe=interval or None)

    def _send_stale(self, connection: Connection, symbol: str, interval: str) -> None:
        """A kline as it stood a while ago, as a late node of the exchange would show it."""
        kind = FaultKind.STALE_SNAPSHOT
        fault = self.faults.find(kind, symbol=symbol, connection=connection.id, timeframe=interval)
        if fault is None:
            return
        now = self.venue.clock.now_ms()
        bar = self.venue.bar_at(symbol, INTERVALS[interval], now - int(fault.own["stale_ms"]))
        if bar is not None and bar.trades:
            self.faults.note(fault)
            text = self._kline(symbol, interval, bar, now, closed=False)
            self._send(
                connection, f"{symbol.lower()}@kline_{interval}", Frame(text, symbol, "candles", interval)
            )

    def _leave(self, connection: Connection, name: str) -> None:
        members = self._subscribers.get(name, set())
        members.discard(connection)
        if members:
            return
        self._subscribers.pop(name, None)
        symbol, _, interval = self._parse(name)
        if symbol and interval in self._klines.get(symbol, {}):
            del self._klines[symbol][interval]
            if not self._klines[symbol]:
                del self._klines[symbol]

    def gone(self, connection: Connection) -> None:
        if self.users is not None:
            self.users.leave(connection)
        for name in connection.streams:
            self._leave(connection, name)

    def _parse(self, stream: str) -> tuple[str | None, str, str]:
        """Symbol, kind and interval of a stream's name; no symbol when there is no such stream."""
        lower, _, kind = stream.partition("@")
        upper = lower.upper()
        # Stream names are written small: BTCUSDT@ticker is no stream.
        symbol = upper if upper in self.venue.listings and lower == lower.lower() else None
        if kind.startswith("kline_") and kind[6:] in INTERVALS:
            return symbol, "kline", kind[6:]
        return symbol, kind, ""

    def subscribed_symbols(self) -> set[str]:
        return set(self._klines)

    # --- frames -----------------------------------------------------------------------------------------
    def close_delay_ms(self, symbol: str, boundary_ms: int) -> int:
        return self.jitter(symbol, boundary_ms, 100, 1900)

    def send_closes(self, symbol: str, boundary_ms: int, stamp_ms: int) -> None:
        for interval, minutes in list(self._klines.get(symbol, {}).items()):
            bar = self.venue.ended_at(symbol, minutes, boundary_ms)
            if bar is None:
                continue
            shown, settle_ms = self.as_streamed(symbol, interval, bar)
            self._send_kline(symbol, interval, shown, stamp_ms, closed=True)
            if settle_ms is not None:
                again = partial(self._send_kline, symbol, interval, bar, closed=True)
                self.send_later(max(stamp_ms, boundary_ms + settle_ms), again)

    def send_updates(self, stamp_ms: int) -> None:
        for symbol, intervals in list(self._klines.items()):
            if not self._is_listed(symbol, stamp_ms) or self.close_pending(symbol):
                continue
            for interval, minutes in list(intervals.items()):
                bar = self.venue.traded_at(symbol, minutes, stamp_ms)
                if bar is not None and self._shown.get((symbol, interval)) != (bar.open_ms, bar.trades):
                    self._shown[symbol, interval] = bar.open_ms, bar.trades
                    self._send_kline(symbol, interval, bar, stamp_ms, closed=False)

    def _send_kline(self, symbol: str, interval: str, bar: Bar, stamp_ms: int, *, closed: bool) -> None:
        stream = f"{symbol.lower()}@kline_{interval}"
        if stream in self._subscribers:
            text = self._kline(symbol, interval, bar, stamp_ms, closed=closed)
            self._publish(stream, Frame(text, symbol, "candles", interval, is_last=closed))

    def _kline(self, symbol: str, interval: str, bar: Bar, stamp_ms: int, *, closed: bool) -> str:
        plan = self.venue.listings[symbol].plan
        ends = bar.open_ms + INTERVALS[interval] * MINUTE_MS - 1
        places = plan.price_decimals
        volume = fixed(bar.lots, plan.lot_decimals, 8)
        quote = fixed(bar.quote, places + plan.lot_decimals, 8)
        taken = fixed(bar.lots // 2, plan.lot_decimals, 8)
        taken_quote = fixed(bar.quote // 2, places + plan.lot_decimals, 8)
        first, last = (bar.open_ms, bar.open_ms + bar.trades - 1) if bar.trades else (-1, -1)
        return (
            f'{{"e":"kline","E":{self.stated(stamp_ms)},"s":"{symbol}","k":{{"t":{bar.open_ms},"T":{ends},'
            f'"s":"{symbol}","i":"{interval}","f":{first},"L":{last},"o":"{fixed(bar.open, places, 8)}",'
            f'"c":"{fixed(bar.close, places, 8)}","h":"{fixed(bar.high, places, 8)}",'
            f'"l":"{fixed(bar.low, places, 8)}","v":"{volume}","n":{bar.trades},'
            f'"x":{"true" if closed else "false"},"q":"{quote}","V":"{taken}",'
            f'"Q":"{taken_quote}","B":"0"}}}}'
        )

    def send_second(self, stamp_ms: int) -> None:
        if self.users is not None:
            self.users.tidy()
        for name in list(self._subscribers):
            symbol, kind, _ = self._parse(name)
            if symbol is None or kind != "ticker" or not self._is_listed(symbol, stamp_ms):
                continue
            stalled = self.venue.listings[symbol].quote_stall
            if stalled and stalled[0] <= stamp_ms < stalled[1]:
                continue
            values = ticker_values(self.venue, symbol, stamp_ms)
            if values["lastPrice"] is None:
                continue
            self._publish(name, Frame(_ticker_frame(symbol, self.stated(stamp_ms), values), symbol, "ticker"))

    def _publish(self, stream: str, frame: Frame) -> None:
        for connection in self._subscribers.get(stream, ()):
            self._send(connection, stream, frame)

    def _send(self, connection: Connection, stream: str, frame: Frame) -> None:
        if connection.combined:
            frame = replace(frame, text=f'{{"stream":"{stream}","data":{frame.text}}}')
        connection.send(frame)
        self.counters["frames"] += 1
        self.counters[f"frames_{frame.channel}"] += 1

    def _is_listed(self, symbol: str, now_ms: int) -> bool:
        listing = self.venue.listings[symbol]
        return self.venue.is_quoted(listing, now_ms)

    def announce_shutdown(self, connection: Connection, stamp_ms: int) -> None:
        connection.send(Frame(_SHUTDOWN.format(stamp=self.stated(stamp_ms))))


def ticker_values(venue: Venue, symbol: str, now_ms: int) -> dict[str, Any]:
    """24 h figures of a symbol, as GET /api/v3/ticker/24hr names them; lastPrice None before any trade."""
    listing = venue.listings[symbol]
    plan = listing.plan
    places = plan.price_decimals
    day = venue.day(symbol, now_ms)
    change = day.last - day.open
    sign = "-" if change < 0 else ""
    average = venue.quote_volume(listing) / plan.price
    zero = fixed(0, places, 8)

    def price(ticks: int) -> str:
        return fixed(ticks, places, 8)

    return {
        "symbol": symbol,
        "priceChange": sign + price(abs(change)),
        "priceChangePercent": f"{100.0 * change / day.open:.3f}" if day.open else "0.000",
        "weightedAvgPrice": price((day.high + day.low) // 2),
        "prevClosePrice": price(day.open),
        "lastPrice": price(day.last) if day.last else None,
        "lastQty": fixed(max(1, int(plan.mean_lots)), plan.lot_decimals, 8),
        "bidPrice": price(day.bid) if day.last else zero,
        "bidQty": fixed(max(1, int(plan.mean_lots)), plan.lot_decimals, 8),
        "askPrice": price(day.ask) if day.last else zero,
        "askQty": fixed(max(1, int(plan.mean_lots)), plan.lot_decimals, 8),
        "openPrice": price(day.open),
        "highPrice": price(day.high),
        "lowPrice": price(day.low),
        "volume": f"{average:.8f}",
        "quoteVolume": f"{average * (day.last / 10**places if day.last else plan.price):.8f}",
        "openTime": now_ms - DAY_MS,
        "closeTime": now_ms,
        "firstId": 1,
        "lastId": 30_000,
        "count": 30_000 if plan.activity >= 1.0 else int(5760 * plan.activity),
    }


def _ticker_frame(symbol: str, stamp_ms: int, values: dict[str, Any]) -> str:
    return (
        f'{{"e":"24hrTicker","E":{stamp_ms},"s":"{symbol}","p":"{values["priceChange"]}",'
        f'"P":"{values["priceChangePercent"]}","w":"{values["weightedAvgPrice"]}",'
        f'"x":"{values["prevClosePrice"]}","c":"{values["lastPrice"]}","Q":"{values["lastQty"]}",'
        f'"b":"{values["bidPrice"]}","B":"{values["bidQty"]}","a":"{values["askPrice"]}",'
        f'"A":"{values["askQty"]}","o":"{values["openPrice"]}","h":"{values["highPrice"]}",'
        f'"l":"{values["lowPrice"]}","v":"{values["volume"]}","q":"{values["quoteVolume"]}",'
        f'"O":{values["openTime"]},"C":{values["closeTime"]},"F":{values["firstId"]},'
        f'"L":{values["lastId"]},"n":{values["count"]}}}'
    )


def _error(code: int, text: str, request_id: Any) -> str:
    return json.dumps({"error": {"code": code, "msg": text}, "id": request_id}, separators=(",", ":"))
