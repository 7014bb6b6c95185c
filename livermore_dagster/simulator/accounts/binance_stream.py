"""Binance's user data stream: listen keys on Binance.US, the WebSocket API's signed subscriptions on Binance.

Binance took its listen keys away on 2026-02-20 (410 Gone); Binance.US still has them.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from livermore_dagster.simulator.accounts.binance_texts import account_position, execution_report
from livermore_dagster.simulator.accounts.directory import Account, Accounts, Trade
from livermore_dagster.simulator.accounts.keys import account_letters
from livermore_dagster.simulator.accounts.signatures import (
    NotSigned,
    binance_refusal,
    hmac_of,
    judge_time,
    missing,
    signing_now_ms,
    with_api_key,
)
from livermore_dagster.simulator.faults import FaultBoard, FaultKind
from livermore_dagster.simulator.limits import WeightWindow
from livermore_dagster.simulator.outgoing import Connection, Frame

__all__ = ["BinanceUserStream"]

_REQUEST_WEIGHT = 2


@dataclass(eq=False)
class _ListenKey:
    text: str
    account: Account
    ends: float
    """Monotonic seconds."""
    connections: set[Connection] = field(default_factory=set)


class BinanceUserStream:
    """Who listens to which account. `life_s`: real seconds a listen key lives without a keep-alive."""

    def __init__(
        self,
        accounts: Accounts,
        faults: FaultBoard,
        window: WeightWindow,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.accounts, self.faults, self.window, self._now = accounts, faults, window, now
        self.has_listen_keys = accounts.venue.name == "binance_us"
        self.life_s = 3600.0
        self._keys: dict[str, _ListenKey] = {}
        self._made = itertools.count(1)
        self._subscriptions: dict[Connection, dict[int, Account]] = {}
        self._used = 0
        accounts.watch(self._on_trade)

    # --- listen keys ------------------------------------------------------------------------------------
    def listen(self, account: Account) -> str:
        """The account's listen key, its life begun anew; a new one where it has none."""
        self.tidy()
        held = next((key for key in self._keys.values() if key.account is account), None)
        if held is None:
            venue = self.accounts.venue
            text = account_letters(venue.seed, venue.name, account.name, "listen", next(self._made))
            held = self._keys[text] = _ListenKey(text, account, 0.0)
        held.ends = self._now() + self.life_s
        return held.text

    def keep(self, account: Account, text: str) -> bool:
        """Begins the key's life anew; False where there is no such key."""
        self.tidy()
        held = self._keys.get(text)
        if held is None or held.account is not account:
            return False
        held.ends = self._now() + self.life_s
        return True

    def stop(self, account: Account, text: str) -> bool:
        """Ends the key and its stream; False where there is no such key."""
        if not self.keep(account, text):
            return False
        del self._keys[text]
        return True

    def tidy(self) -> None:
        """Ends keys that were not kept alive, and says so to those who listen."""
        for held in [key for key in self._keys.values() if key.ends <= self._now()]:
            del self._keys[held.text]
            now = self.accounts.venue.clock.now_ms()
            event = {"e": "listenKeyExpired", "E": now, "listenKey": held.text}
            for connection in held.connections:
                self._send(connection, held.text, event, "")

    def join(self, connection: Connection, name: str) -> bool:
        """Listens by a key's name as to any stream; False where there is no such key."""
        held = self._keys.get(name)
        if held is None:
            return False
        held.connections.add(connection)
        return True

    def leave(self, connection: Connection) -> None:
        self._subscriptions.pop(connection, None)
        for held in self._keys.values():
            held.connections.discard(connection)

    # --- the WebSocket API ------------------------------------------------------------------------------
    def answer(self, connection: Connection, text: str) -> str:
        """The answer to one request of the WebSocket API."""
        request_id: Any = None
        try:
            request = _request_of(text)
            request_id = request.get("id")
            return self._reply(request_id, 200, "result", self._do(connection, request))
        except NotSigned as refused:
            return self._reply(request_id, refused.reply.status, "error", refused.reply.body)

    def _reply(self, request_id: Any, status: int, name: str, body: Any) -> str:
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
        limits = [{**limit, "limit": self.window.limit, "count": self._used}]
        return json.dumps({"id": request_id, "status": status, name: body, "rateLimits": limits})

    def _do(self, connection: Connection, request: dict[str, Any]) -> Any:
        verdict = self.window.take(_REQUEST_WEIGHT)
        self._used = verdict.used
        if verdict.status != 200:
            raise binance_refusal(-1003, "Too much request weight used.", 429)
        params = request.get("params") or {}
        subscriptions = self._subscriptions.setdefault(connection, {})
        match request.get("method"):
            case "ping":
                return {}
            case "time":
                return {"serverTime": self.accounts.venue.clock.now_ms()}
            case "session.subscriptions":
                return [{"subscriptionId": number} for number in subscriptions]
            case "userDataStream.subscribe.signature":
                signer = self._signer(params)
                number = max(subscriptions, default=-1) + 1
                subscriptions[number] = signer
                connection.streams.add(f"user:{number}")
                return {"subscriptionId": number}
            case "userDataStream.unsubscribe":
                chosen = [params["subscriptionId"]] if "subscriptionId" in params else list(subscriptions)
                for number in chosen:
                    subscriptions.pop(number, None)
                    connection.streams.discard(f"user:{number}")
                return {}
            case method:
                raise binance_refusal(-1000, f"Unknown method {method!r}.")

    def _signer(self, params: dict[str, Any]) -> Account:
        """Who signed: HMAC over all parameters but the signature, sorted by name."""
        for name in ("apiKey", "timestamp", "signature"):
            if params.get(name) in (None, ""):
                raise missing(name)
        if self.faults.strike(FaultKind.REVOKE_KEY) is not None:
            raise binance_refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        account = with_api_key(self.accounts, str(params["apiKey"]))
        window = str(params["recvWindow"]) if "recvWindow" in params else None
        judge_time(str(params["timestamp"]), window, signing_now_ms(self.faults))
        signed = "&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature")
        if hmac_of(account.secret, signed) != params["signature"]:
            raise binance_refusal(-1022, "Signature for this request is not valid.")
        return account

    # --- events -----------------------------------------------------------------------------------------
    def _on_trade(self, trade: Trade) -> None:
        self.tidy()
        account, book = trade.account, trade.account.book
        if book is None:
            return
        venue, now = self.accounts.venue, self.accounts.venue.clock.now_ms()
        order = book.order(trade.order)
        fill = None if trade.fill is None else book.fill(trade.fill)
        changed = {order.listing.base, order.listing.quote} | ({fill.fee_currency} if fill else set())
        events = [
            execution_report(venue.seed, venue.name, account.name, order, fill, what, now)
            for what in (("CANCELED",) if fill is None else ("NEW", "TRADE"))
        ]
        for event in (*events, account_position(book, changed, now)):
            self._publish(account, event, order.listing.symbol)

    def _publish(self, account: Account, event: dict[str, Any], symbol: str) -> None:
        for held in self._keys.values():
            if held.account is account:
                for connection in held.connections:
                    self._send(connection, held.text, event, symbol)
        for connection, subscriptions in self._subscriptions.items():
            for number, subscriber in subscriptions.items():
                if subscriber is account:
                    text = json.dumps({"subscriptionId": number, "event": event}, separators=(",", ":"))
                    connection.send(Frame(text, symbol, "user"))

    def _send(self, connection: Connection, name: str, event: dict[str, Any], symbol: str) -> None:
        data: Any = {"stream": name, "data": event} if connection.combined else event
        connection.send(Frame(json.dumps(data, separators=(",", ":")), symbol, "user"))


def _request_of(text: str) -> dict[str, Any]:
    try:
        request = json.loads(text)
    except ValueError:
        request = None
    if not isinstance(request, dict) or not isinstance(request.get("params") or {}, dict):
        raise binance_refusal(-1100, "Malformed request.")
    return request
