"""Coinbase Advanced Trade's market data socket: 5-minute candles, tickers, heartbeats, sequence numbers."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from livermore_dagster.market.candle import canonical
from livermore_dagster.simulator.bars import Bar
from livermore_dagster.simulator.faults import Aim, FaultBoard, FaultKind
from livermore_dagster.simulator.feed import Feed, FeedSettings
from livermore_dagster.simulator.market import MINUTE_MS, SymbolPlan
from livermore_dagster.simulator.noise import key_of
from livermore_dagster.simulator.outgoing import Connection, Frame
from livermore_dagster.simulator.venue import Venue, fixed

if TYPE_CHECKING:
    from livermore_dagster.simulator.accounts.coinbase_channel import CoinbaseUserChannel

__all__ = ["CoinbaseFeed", "price_text", "rfc3339", "size_text"]

_MINUTES = 5
_TIMEFRAME = "5m"
_STEP_MS = _MINUTES * MINUTE_MS
_SNAPSHOT_ROWS = 100
_CHANNELS = ("candles", "ticker", "heartbeats")


def rfc3339(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}000000Z"


def price_text(ticks: int, plan: SymbolPlan) -> str:
    return canonical(fixed(ticks, plan.price_decimals, plan.price_decimals))


def size_text(lots: int, plan: SymbolPlan) -> str:
    return canonical(fixed(lots, plan.lot_decimals, max(1, plan.lot_decimals)))


class CoinbaseFeed(Feed):
    """Streams are kept as 'channel:id'; ids are canonical, whatever alias was subscribed."""

    def __init__(
        self, venue: Venue, faults: FaultBoard, counters: Counter[str], settings: FeedSettings
    ) -> None:
        super().__init__(venue, faults, counters, settings)
        self._subscribers: dict[str, set[Connection]] = {}
        self._asked: dict[int, dict[str, dict[str, None]]] = {}
        """Ids as each connection asked for them, per channel, for its acknowledgements."""
        self._shown: dict[str, tuple[int, int]] = {}
        self.users: CoinbaseUserChannel | None = None

    # --- subscriptions ----------------------------------------------------------------------------------
    def opened(self, connection: Connection, request: web.Request) -> None:
        self._asked[connection.id] = {}

    def gone(self, connection: Connection) -> None:
        self._asked.pop(connection.id, None)
        if self.users is not None:
            self.users.leave(connection)
        for stream in connection.streams:
            self._leave(connection, stream)

    def received(self, connection: Connection, text: str) -> None:
        problem = self._act(connection, text)
        if problem:
            connection.send(Frame(json.dumps({"type": "error", "message": problem}), is_answer=True))

    def _act(self, connection: Connection, text: str) -> str:
        """Does what the message says; the error text when it cannot."""
        try:
            message = json.loads(text)
        except ValueError:
            return "Malformed JSON"
        if not isinstance(message, dict) or message.get("type") not in ("subscribe", "unsubscribe"):
            return "unrecognized message type"
        if message["type"] == "subscribe" and connection.strikes(FaultKind.REJECT_SUBSCRIPTION):
            return "Internal Server Error"
        channel, ids = str(message.get("channel", "")), message.get("product_ids") or []
        if channel == "user" and self.users is not None:
            return self._act_on_user(self.users, connection, message)
        problem = self._problem(channel, ids)
        if problem:
            return problem
        if message["type"] == "subscribe":
            self._subscribe(connection, channel, ids)
        else:
            self._unsubscribe(connection, channel, ids)
        return ""

    def _act_on_user(
        self, users: CoinbaseUserChannel, connection: Connection, message: dict[str, Any]
    ) -> str:
        asked = self._asked[connection.id]
        if message["type"] == "unsubscribe":
            users.leave(connection)
            asked.pop("user", None)
            self._acknowledge(connection, self.stamp())
            return ""
        problem = users.subscribe(connection, message)
        if not problem:
            asked["user"] = {users.user_of(connection): None}
            self._acknowledge(connection, self.stamp())
            users.begin(connection)
        return problem

    def send_user(self, connection: Connection, event: str) -> None:
        """An event of the user channel, stamped and numbered as all others."""
        self._send(connection, "user", self.stamp(), event)

    def _problem(self, channel: str, ids: Any) -> str:
        if channel not in _CHANNELS:
            return f"channel {channel!r} is not supported"
        if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
            return "product_ids must be a list of strings"
        if channel == "heartbeats":
            return ""
        if not ids:
            return "no products to subscribe to"
        unknown = [name for name in ids if not self._is_tradable(name)]
        # The whole message is refused; the client may ask again without the bad ids.
        return f"invalid product_ids: {', '.join(unknown[:20])}" if unknown else ""

    def _subscribe(self, connection: Connection, channel: str, ids: list[str]) -> None:
        stamp = self.stamp()
        taken = [name for name in ids if not self._is_refused(connection, name)]
        if channel == "heartbeats":
            connection.heartbeats = True
        asked = self._asked[connection.id].setdefault(channel, {})
        asked.update(dict.fromkeys(taken))
        fresh = []
        for name in taken:
            symbol = self.venue.canonical_symbol(name)
            stream = f"{channel}:{symbol}"
            if stream not in connection.streams:
                fresh.append(symbol)
            connection.streams.add(stream)
            self._subscribers.setdefault(stream, set()).add(connection)
        self._acknowledge(connection, stamp)
        for symbol in fresh:
            if channel == "candles":
                self._send_snapshot(connection, symbol, stamp)
            else:
                self._send_tickers(connection, [symbol], stamp, "snapshot")

    def _is_tradable(self, name: str) -> bool:
        listing = self.venue.listings.get(name)
        return listing is not None and listing.trading and self.venue.is_visible(listing)

    def _is_refused(self, connection: Connection, name: str) -> bool:
        kind = FaultKind.REFUSE_SUBSCRIPTION
        return self.faults.strike(kind, symbol=name, connection=connection.id) is not None

    def _unsubscribe(self, connection: Connection, channel: str, ids: list[str]) -> None:
        if channel == "heartbeats":
            connection.heartbeats = False
        asked = self._asked[connection.id].get(channel, {})
        for name in ids:
            asked.pop(name, None)
            stream = f"{channel}:{self.venue.canonical_symbol(name)}"
            connection.streams.discard(stream)
            self._leave(connection, stream)
        self._acknowledge(connection, self.stamp())

    def _leave(self, connection: Connection, stream: str) -> None:
        members = self._subscribers.get(stream, set())
        members.discard(connection)
        if not members:
            self._subscribers.pop(stream, None)

    def subscribed_symbols(self) -> set[str]:
        return {stream[8:] for stream in self._subscribers if stream.startswith("candles:")}

    def forget(self, connection: Connection, stream: str) -> None:
        channel, _, symbol = stream.partition(":")
        if channel == "user" and self.users is not None:
            self.users.leave(connection)
            return
        asked = self._asked[connection.id].get(channel, {})
        for name in [name for name in asked if self.venue.canonical_symbol(name) == symbol]:
            del asked[name]
        connection.streams.discard(stream)
        self._leave(connection, stream)

    def stream_aim(self, stream: str) -> Aim:
        channel, _, symbol = stream.partition(":")
        return Aim(symbol=symbol, channel=channel, timeframe=_TIMEFRAME if channel == "candles" else None)

    # --- frames -----------------------------------------------------------------------------------------
    def _send(
        self,
        connection: Connection,
        channel: str,
        stamp_ms: int,
        events: str,
        symbol: str = "",
        *,
        is_last: bool = False,
    ) -> None:
        is_data = channel in ("candles", "ticker", "user")
        frame = Frame(
            f'{{"channel":"{channel}","client_id":"","timestamp":"{rfc3339(self.stated(stamp_ms))}",'
            '"sequence_num":',
            symbol,
            channel if is_data else "",
            _TIMEFRAME if channel == "candles" else "",
            is_last,
            is_answer=channel == "subscriptions",
            after_number=f',"events":[{events}]}}',
        )
        if not connection.send(frame):
            return
        self.counters["frames"] += 1
        if is_data:
            self.counters[f"frames_{channel}"] += 1

    def _acknowledge(self, connection: Connection, stamp_ms: int) -> None:
        held: dict[str, Any] = {
            channel: list(ids)
            for channel, ids in self._asked[connection.id].items()
            if ids and channel != "heartbeats"
        }
        if connection.heartbeats:
            held["heartbeats"] = ["heartbeats"]
        self._send(connection, "subscriptions", stamp_ms, json.dumps({"subscriptions": held}))

    def _send_snapshot(self, connection: Connection, symbol: str, stamp_ms: int) -> None:
        """Up to 100 recent buckets, newest first; some are missing, at times the open one too."""
        start = stamp_ms - stamp_ms % _STEP_MS - (_SNAPSHOT_ROWS + 20) * _STEP_MS
        kind = FaultKind.STALE_SNAPSHOT
        stale = self.faults.strike(kind, symbol=symbol, connection=connection.id, timeframe=_TIMEFRAME)
        at = stamp_ms if stale is None else stamp_ms - int(stale.own["stale_ms"])
        rows = [
            bar
            for bar in self.venue.rows(symbol, _MINUTES, start, at + 1, at)
            if key_of(self.venue.seed, "snapshot", symbol, bar.open_ms) % 10
        ][-_SNAPSHOT_ROWS:]
        plan = self.venue.listings[symbol].plan
        text = ",".join(_candle(bar, symbol, plan) for bar in reversed(rows))
        self._send(connection, "candles", stamp_ms, f'{{"type":"snapshot","candles":[{text}]}}', symbol)

    def close_delay_ms(self, symbol: str, boundary_ms: int) -> int:
        return self.jitter(symbol, boundary_ms, 50, 950)

    def send_closes(self, symbol: str, boundary_ms: int, stamp_ms: int) -> None:
        bar = self.venue.ended_at(symbol, _MINUTES, boundary_ms)
        # A silent bucket is left out; one that was silent until now has nothing to be ended.
        if bar is None or not bar.trades:
            return
        shown, settle_ms = self.as_streamed(symbol, _TIMEFRAME, bar)
        self._send_bar(symbol, shown, stamp_ms, is_last=True)
        if settle_ms is not None:
            again = partial(self._send_bar, symbol, bar, is_last=True)
            self.send_later(max(stamp_ms, boundary_ms + settle_ms), again)

    def _send_bar(self, symbol: str, bar: Bar, stamp_ms: int, *, is_last: bool) -> None:
        event = f'{{"type":"update","candles":[{_candle(bar, symbol, self.venue.listings[symbol].plan)}]}}'
        for connection in self._subscribers.get(f"candles:{symbol}", ()):
            self._send(connection, "candles", stamp_ms, event, symbol, is_last=is_last)

    def send_updates(self, stamp_ms: int) -> None:
        changed: dict[Connection, list[tuple[str, str]]] = {}
        for symbol in self.subscribed_symbols():
            if stamp_ms < self.venue.listings[symbol].plan.listed_ms or self._awaits_close(symbol, stamp_ms):
                continue
            bar = self.venue.traded_at(symbol, _MINUTES, stamp_ms)
            if bar is None or self._shown.get(symbol) == (bar.open_ms, bar.trades):
                continue
            self._shown[symbol] = bar.open_ms, bar.trades
            text = _candle(bar, symbol, self.venue.listings[symbol].plan)
            for connection in self._subscribers[f"candles:{symbol}"]:
                changed.setdefault(connection, []).append((symbol, text))
        for connection, candles in changed.items():
            self._send_candles(connection, candles, stamp_ms)

    def _awaits_close(self, symbol: str, stamp_ms: int) -> bool:
        return stamp_ms % _STEP_MS < 1000 and self.close_pending(symbol)

    def _send_candles(self, connection: Connection, candles: list[tuple[str, str]], stamp_ms: int) -> None:
        """One frame for all, as the exchange bundles them; one each while faults choose by symbol."""
        if not self.faults.is_quiet:
            for symbol, text in candles:
                event = f'{{"type":"update","candles":[{text}]}}'
                self._send(connection, "candles", stamp_ms, event, symbol)
            return
        event = f'{{"type":"update","candles":[{",".join(text for _, text in candles)}]}}'
        self._send(connection, "candles", stamp_ms, event)

    def send_second(self, stamp_ms: int) -> None:
        for connection in list(self.connections.values()):
            symbols = [stream[7:] for stream in connection.streams if stream.startswith("ticker:")]
            if symbols:
                self._send_tickers(connection, symbols, stamp_ms, "update")
            if connection.heartbeats:
                connection.beats += 1
                moment = rfc3339(self.stated(stamp_ms))
                text = f"{moment[:10]} {moment[11:-1]} +0000 UTC m=+{connection.beats}.0"
                event = f'{{"current_time":"{text}","heartbeat_counter":{connection.beats}}}'
                self._send(connection, "heartbeats", stamp_ms, event)

    def _send_tickers(self, connection: Connection, symbols: list[str], stamp_ms: int, kind: str) -> None:
        tickers = [(symbol, text) for symbol in symbols if (text := self._ticker(symbol, stamp_ms))]
        groups = (
            [[ticker] for ticker in tickers] if not self.faults.is_quiet else [tickers] if tickers else []
        )
        for group in groups:
            event = f'{{"type":"{kind}","tickers":[{",".join(text for _, text in group)}]}}'
            about = group[0][0] if len(group) == 1 else ""
            self._send(connection, "ticker", stamp_ms, event, about)

    def _ticker(self, symbol: str, stamp_ms: int) -> str:
        listing = self.venue.listings[symbol]
        stalled = listing.quote_stall
        if not self.venue.is_quoted(listing, stamp_ms):
            return ""
        if stalled and stalled[0] <= stamp_ms < stalled[1]:
            return ""
        day = self.venue.day(symbol, stamp_ms)
        if not day.last:
            return ""
        plan = listing.plan
        size = size_text(max(1, int(plan.mean_lots)), plan)
        return (
            f'{{"type":"ticker","product_id":"{symbol}","price":"{price_text(day.last, plan)}",'
            f'"volume_24_h":"{self.venue.quote_volume(listing) / plan.price:.8f}",'
            f'"low_24_h":"{price_text(day.low, plan)}","high_24_h":"{price_text(day.high, plan)}",'
            f'"low_52_w":"{price_text(day.low // 2, plan)}","high_52_w":"{price_text(day.high * 2, plan)}",'
            f'"price_percent_chg_24_h":"{100.0 * (day.last - day.open) / day.open:.10f}",'
            f'"best_bid":"{price_text(day.bid, plan)}","best_bid_quantity":"{size}",'
            f'"best_ask":"{price_text(day.ask, plan)}","best_ask_quantity":"{size}"}}'
        )

    def announce_shutdown(self, connection: Connection, stamp_ms: int) -> None:
        """Coinbase cuts without a word."""


def _candle(bar: Bar, symbol: str, plan: SymbolPlan) -> str:
    return (
        f'{{"start":"{bar.open_ms // 1000}","high":"{price_text(bar.high, plan)}",'
        f'"low":"{price_text(bar.low, plan)}","open":"{price_text(bar.open, plan)}",'
        f'"close":"{price_text(bar.close, plan)}","volume":"{size_text(bar.lots, plan)}",'
        f'"product_id":"{symbol}"}}'
    )
