"""Binance's user data stream: executionReport events of the account's orders.

binance.com ended listen keys in February 2026: its WebSocket API takes a signed subscription instead
(web-socket-api.md, userDataStream.subscribe.signature). Binance.US knows listen keys only
(user-data-stream.md of binance-us-api-docs).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from livermore_dagster.exchanges.account_client import AccountClient
from livermore_dagster.exchanges.account_contract import Credentials
from livermore_dagster.exchanges.binance_account import (
    RECEIVE_WINDOW_MS,
    hmac_signature,
    listen_key_request,
)
from livermore_dagster.exchanges.contract import Ack, ErrorFrame, Refusal, ShutdownNotice
from livermore_dagster.exchanges.user_stream import UserDecoder, UserEvent, UserEventKind, UserFrame
from livermore_dagster.exchanges.wire import decode_body
from livermore_dagster.market.exchange import ExchangeRow

__all__ = ["BinanceListenKeyChannel", "BinanceSignedChannel", "BinanceUserDecoder"]

# The vendor's WebSocket API has an address of its own; every other place has one for both.
_API_ADDRESSES = {"wss://stream.binance.com:9443": "wss://ws-api.binance.com:443"}
_LIFETIME_S = 23 * 3600.0
_KEEPALIVE_S = 30 * 60.0
_ENDINGS = frozenset({"eventStreamTerminated", "listenKeyExpired", "serverShutdown"})
# Connecting costs 2 of the address' weight, the subscription 2 more.
_SUBSCRIPTION_WEIGHT = 4


class _Event(msgspec.Struct, gc=False):
    """executionReport, or as much of another event as tells its kind."""

    e: str
    s: str = ""
    i: int = -1
    x: str = ""
    t: int = -1
    T: int = -1


class _Problem(msgspec.Struct, gc=False):
    code: int = 0
    msg: str = ""


class _Envelope(msgspec.Struct, gc=False):
    """An event of the WebSocket API, an answer to a message of ours, or (with `e`) an event by itself."""

    event: _Event | None = None
    e: str = ""
    id: int | str | None = None
    status: int = 0
    error: _Problem | None = None


class _ListenKey(msgspec.Struct, gc=False):
    key: str = msgspec.field(name="listenKey")


_envelope = msgspec.json.Decoder(_Envelope)
_event = msgspec.json.Decoder(_Event)
_listen_key = msgspec.json.Decoder(_ListenKey)


class BinanceSignedChannel:
    """A signed message on the WebSocket API. Quiet is normal; pings watch the socket."""

    silence_s: float | None = None
    lifetime_s: float | None = _LIFETIME_S
    keepalive_s: float | None = None

    def __init__(self, row: ExchangeRow, credentials: Credentials, account: AccountClient) -> None:
        address = row.ws_url.rstrip("/")
        self._url = _API_ADDRESSES.get(address, address) + "/ws-api/v3"
        self._credentials = credentials
        self._account = account

    async def open(self) -> str:
        await self._account.spend(_SUBSCRIPTION_WEIGHT)
        return self._url

    def subscribe(self) -> Sequence[str]:
        """Its signature is over the parameters in alphabetical order."""
        params: dict[str, str | int] = {
            "apiKey": self._credentials.key,
            "recvWindow": RECEIVE_WINDOW_MS,
            "timestamp": self._account.time.now_ms(),
        }
        payload = "&".join(f"{name}={value}" for name, value in params.items())
        params["signature"] = hmac_signature(self._credentials, payload)
        message = {"id": 1, "method": "userDataStream.subscribe.signature", "params": params}
        return [msgspec.json.encode(message).decode()]

    async def keepalive(self) -> None:
        """Not needed: the subscription lasts as long as its connection."""

    def decoder(self) -> UserDecoder:
        return BinanceUserDecoder()


class BinanceListenKeyChannel:
    """A listen key is part of the address, holds for an hour and is prolonged every half hour."""

    silence_s: float | None = None
    lifetime_s: float | None = _LIFETIME_S
    keepalive_s: float | None = _KEEPALIVE_S

    def __init__(self, row: ExchangeRow, account: AccountClient) -> None:
        self._address = row.ws_url.rstrip("/")
        self._account = account
        self._key = ""

    async def open(self) -> str:
        self._key = await self._account.ask(
            listen_key_request("POST"), lambda body: decode_body(_listen_key, body, "listen key").key
        )
        return f"{self._address}/ws/{self._key}"

    def subscribe(self) -> Sequence[str]:
        return []

    async def keepalive(self) -> None:
        await self._account.ask(listen_key_request("PUT", self._key), lambda body: None)

    def decoder(self) -> UserDecoder:
        return BinanceUserDecoder()


class BinanceUserDecoder:
    def decode(self, frame: str | bytes) -> Sequence[UserFrame]:
        try:
            envelope = _envelope.decode(frame)
            event = _event.decode(frame) if envelope.e else envelope.event
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return [ErrorFrame(f"malformed user frame: {error}")]
        if event is None:
            return _answer(envelope)
        if event.e in _ENDINGS:
            return [ShutdownNotice()]
        if event.e != "executionReport":
            return []
        if not event.s or event.i < 0 or event.T < 0:
            return [ErrorFrame("malformed user frame: an executionReport without s, i or T")]
        traded = event.x == "TRADE"
        kind = UserEventKind.FILL if traded else UserEventKind.ORDER
        fill_id = str(event.t) if traded and event.t >= 0 else None
        return [UserEvent(kind, event.s, str(event.i), fill_id, event.T)]


def _answer(envelope: _Envelope) -> Sequence[UserFrame]:
    if envelope.error is not None:
        reason = f"{envelope.error.code} {envelope.error.msg}".strip()
        return [Refusal(reason, request_id=None if envelope.id is None else str(envelope.id))]
    return [Ack(str(envelope.id))] if envelope.status == 200 else []
