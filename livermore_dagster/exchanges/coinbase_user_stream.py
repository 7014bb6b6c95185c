"""Coinbase's `user` channel: the account's orders as they change; a fill shows as more of one filled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from livermore_dagster.exchanges.account_contract import Credentials
from livermore_dagster.exchanges.amounts import amount
from livermore_dagster.exchanges.coinbase_stream import CoinbaseDecoder, utc_ms
from livermore_dagster.exchanges.coinbase_token import coinbase_token
from livermore_dagster.exchanges.contract import Ack, ErrorFrame, Heartbeat, SequenceGap
from livermore_dagster.exchanges.user_stream import UserDecoder, UserEvent, UserEventKind, UserFrame
from livermore_dagster.market.exchange import ExchangeRow

__all__ = ["CoinbaseUserChannel", "CoinbaseUserDecoder"]

# The vendor's user orders have an address of their own; every other place has one for both.
_USER_ADDRESSES = {"wss://advanced-trade-ws.coinbase.com": "wss://advanced-trade-ws-user.coinbase.com"}
_ENDED = frozenset({"FILLED", "CANCELLED", "EXPIRED", "FAILED"})


class _Order(msgspec.Struct, gc=False):
    order_id: str
    product_id: str
    status: str
    cumulative_quantity: str


class _UserBatch(msgspec.Struct, gc=False):
    type: str
    orders: list[_Order] = []


class _User(msgspec.Struct, gc=False):
    timestamp: str
    events: list[_UserBatch]


class _Subscribed(msgspec.Struct, gc=False):
    subscriptions: dict[str, list[str] | None] = {}


class _Subscriptions(msgspec.Struct, gc=False):
    events: list[_Subscribed] = []


class _Channel(msgspec.Struct, gc=False):
    channel: str = ""


_channel = msgspec.json.Decoder(_Channel)
_user = msgspec.json.Decoder(_User)
_subscriptions = msgspec.json.Decoder(_Subscriptions)


class CoinbaseUserChannel:
    """A token signs each message and lives for 120 s; the subscription outlives it."""

    # Heartbeats come every second.
    silence_s: float | None = 30.0
    lifetime_s: float | None = None
    keepalive_s: float | None = None

    def __init__(self, row: ExchangeRow, credentials: Credentials, now_ms: Callable[[], int]) -> None:
        """`now_ms` is the exchange's time as far as it is known."""
        self._address = _USER_ADDRESSES.get(row.ws_url.rstrip("/"), row.ws_url)
        self._credentials = credentials
        self._now_ms = now_ms

    async def open(self) -> str:
        return self._address

    def subscribe(self) -> Sequence[str]:
        """All products: none is named."""
        return [self._message("user"), self._message("heartbeats")]

    def _message(self, channel: str) -> str:
        token = coinbase_token(self._credentials, self._now_ms())
        return msgspec.json.encode({"type": "subscribe", "channel": channel, "jwt": token}).decode()

    async def keepalive(self) -> None:
        """Heartbeats do it."""

    def decoder(self) -> UserDecoder:
        return CoinbaseUserDecoder()


class CoinbaseUserDecoder:
    """Numbers of frames, heartbeats and errors are those of every Coinbase socket."""

    def __init__(self) -> None:
        self._common = CoinbaseDecoder()
        self._filled: dict[str, Decimal] = {}
        """How much of each open order was filled when it was last told."""

    def decode(self, frame: str | bytes) -> Sequence[UserFrame]:
        told: list[UserFrame] = [
            event
            for event in self._common.decode(frame)
            if isinstance(event, Heartbeat | SequenceGap | ErrorFrame)
        ]
        if any(isinstance(event, ErrorFrame) for event in told):
            return told
        try:
            channel = _channel.decode(frame).channel
            if channel == "user":
                told += self._orders(_user.decode(frame))
            elif channel == "subscriptions" and _confirms(_subscriptions.decode(frame)):
                told.append(Ack())
        except (msgspec.DecodeError, ValueError) as error:
            told.append(ErrorFrame(f"malformed frame: {error}"))
        return told

    def _orders(self, message: _User) -> list[UserEvent]:
        at_ms = utc_ms(message.timestamp)
        events: list[UserEvent] = []
        for batch in message.events:
            for order in batch.orders:
                kind = self._kind(order)
                # A snapshot primes: what it holds happened before the channel flowed.
                if batch.type != "snapshot":
                    events.append(UserEvent(kind, order.product_id, order.order_id, None, at_ms))
        return events

    def _kind(self, order: _Order) -> UserEventKind:
        filled = amount(order.cumulative_quantity, "cumulative_quantity")
        before = self._filled.get(order.order_id, Decimal(0))
        if order.status in _ENDED:
            self._filled.pop(order.order_id, None)
        else:
            self._filled[order.order_id] = filled
        return UserEventKind.FILL if filled > before else UserEventKind.ORDER


def _confirms(message: _Subscriptions) -> bool:
    return any("user" in event.subscriptions for event in message.events)
