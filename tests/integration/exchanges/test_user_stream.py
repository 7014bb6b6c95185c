"""What user streams survive: silence, refusals, endings, breaks; over real sockets, played by hand."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

import jwt
import pytest
import redis.asyncio
from aiohttp import web

from livermore_dagster.clock import SystemClock
from livermore_dagster.errors import CredentialsRefused
from livermore_dagster.exchanges.backoff import Backoff
from livermore_dagster.exchanges.binance_account import hmac_signature
from livermore_dagster.exchanges.budget import RateBudget
from livermore_dagster.exchanges.closure import SharedClosure
from livermore_dagster.exchanges.connection import ConnectionLost, open_socket
from livermore_dagster.exchanges.contract import BudgetRule
from livermore_dagster.exchanges.factory import account_client_for, user_stream_for
from livermore_dagster.exchanges.gate import Gate
from livermore_dagster.exchanges.user_stream import UserEvent, UserEventKind, UserStream
from tests.integration.exchanges.account_exchange import Played, Socket, exchange, reply
from tests.integration.exchanges.test_account_client import ACCOUNT, BINANCE, COINBASE, SKEWED

CLOCK = SystemClock()
FLOWS = {"id": 1, "status": 200, "result": {"subscriptionId": 0}}
TRADE = {"e": "executionReport", "s": "ETHBTC", "x": "TRADE", "i": 7, "t": 77, "T": 1499405658657}


class Quick(Backoff):
    """Hardly any delay: what is tested is that it comes again."""

    def delay(self, uptime_s: float, *, retryable: bool = True, least_s: float = 0.0) -> float:
        return super().delay(uptime_s, retryable=retryable) / 50 + least_s


class Door:
    """Signed reads are answered `account`; every WebSocket waits in `sockets`."""

    def __init__(self, account: Callable[[web.Request], web.Response] | None = None) -> None:
        self.sockets: asyncio.Queue[Socket] = asyncio.Queue()
        self.prolonged = asyncio.Event()
        self._account = account
        self.refusals: list[web.Response] = []
        self.knocks: list[float] = []
        """Monotonic seconds of each WebSocket that was asked for."""
        self.at_knock: Callable[[], None] = lambda: None
        """Called before each is opened or refused."""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("upgrade") == "websocket":
            self.knocks.append(CLOCK.monotonic())
            self.at_knock()
            if self.refusals:
                return self.refusals.pop()
            socket = Socket(request.path)
            self.sockets.put_nowait(socket)
            return await socket.serve(request)
        if request.path.endswith("/time"):
            return reply({"serverTime": CLOCK.now_ms(), "epochMillis": str(CLOCK.now_ms())})
        if request.path.endswith("/userDataStream"):
            if request.method == "POST":
                return reply({"listenKey": "listen"})
            self.prolonged.set()
            return reply({})
        return self._account(request) if self._account else reply(ACCOUNT)

    async def socket(self) -> Socket:
        return await asyncio.wait_for(self.sockets.get(), 60)


class Told:
    """Upgrades refused for the rate."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def __call__(self, channel: str, status: int, reason: str) -> None:
        self.told.append((channel, status))


def gate_of(played: Played, redis: redis.asyncio.Redis) -> Gate:
    """As a process of its own has it."""
    budget = RateBudget(redis, played.row.id, BudgetRule(10, 1000), CLOCK)
    return Gate(CLOCK, SharedClosure(redis, played.row.id, budget))


def stream_of(
    played: Played, redis: redis.asyncio.Redis, told: Told | None = None, **quirks: float
) -> UserStream:
    credentials = COINBASE if played.row.name == "coinbase" else BINANCE
    gate = gate_of(played, redis)
    stream = user_stream_for(played.row, credentials, redis, CLOCK, gate, told or Told())
    stream.backoff = Quick(random.Random(1))
    for name, value in quirks.items():
        setattr(stream._channel, name, value)
    return stream


async def take(stream: UserStream, count: int) -> list[UserEvent]:
    events: list[UserEvent] = []
    async with asyncio.timeout(60):
        async for event in stream:
            events.append(event)
            if len(events) == count:
                break
    return events


def kinds(events: list[UserEvent]) -> list[str]:
    return [event.kind.value for event in events]


async def test_binance_signs_its_subscription_and_tells_fills(connected: redis.asyncio.Redis) -> None:
    door = Door()
    async with exchange("binance", door) as played, stream_of(played, connected) as stream:
        socket = await door.socket()
        asked = await socket.told()
        assert (socket.path, asked["method"]) == ("/ws-api/v3", "userDataStream.subscribe.signature")
        params = asked["params"]
        payload = "&".join(f"{name}={params[name]}" for name in ("apiKey", "recvWindow", "timestamp"))
        assert params["signature"] == hmac_signature(BINANCE, payload)
        assert not stream.flowing.is_set()
        await socket.send(FLOWS)
        await socket.send({"subscriptionId": 0, "event": TRADE})
        assert kinds(await take(stream, 2)) == ["resumed", "fill"]


async def test_coinbase_signs_each_message_and_is_watched_by_heartbeats(
    connected: redis.asyncio.Redis,
) -> None:
    door = Door()
    async with exchange("coinbase", door) as played, stream_of(played, connected, silence_s=60) as stream:
        for silence_s in (0.3, 60):
            socket = await door.socket()
            stream._channel.silence_s = silence_s  # counts from the confirmation on
            asked = [await socket.told() for _ in range(2)]
            assert [message["channel"] for message in asked] == ["user", "heartbeats"]
            assert asked[0]["jwt"] != asked[1]["jwt"]
            claims = jwt.decode(asked[0]["jwt"], options={"verify_signature": False})
            assert (claims["sub"], "uri" in claims) == (COINBASE.key, False)
            await socket.send({"channel": "subscriptions", "events": [{"subscriptions": {"user": ["u"]}}]})
        assert kinds(await take(stream, 2)) == ["resumed", "resumed"]
        assert (stream.reconnects, stream.last_reason) == (1, "silent for 0.3 s")


async def test_a_channel_refused_for_the_rate_is_asked_for_when_the_exchange_said(
    connected: redis.asyncio.Redis,
) -> None:
    door, told = Door(), Told()
    door.refusals.append(web.Response(status=429, headers={"Retry-After": "1"}))
    async with exchange("coinbase", door) as played, stream_of(played, connected, told) as stream:
        await door.socket()
        refused, let_in = door.knocks
        assert let_in - refused >= 1.0
        assert "429" in stream.last_reason
        assert told.told == [(stream.name, 429)]


@pytest.mark.parametrize("name", ["coinbase", "binance_us"])
async def test_after_one_refusal_no_process_asks_before_the_exchange_said(
    connected: redis.asyncio.Redis, name: str
) -> None:
    """Neither for a connection nor for the key of one."""
    door = Door()
    door.refusals.append(web.Response(status=429, headers={"Retry-After": "1"}))
    async with exchange(name, door) as played:
        market = gate_of(played, connected)
        with pytest.raises(ConnectionLost):
            await market.open(lambda: open_socket(played.row.ws_url))
        async with stream_of(played, connected):
            await door.socket()
        assert len(door.knocks) == 2
        refused, *later = played.times
        assert min(later) - refused >= 1.0


async def test_a_refused_channel_keeps_the_markets_connections_away(connected: redis.asyncio.Redis) -> None:
    door, told = Door(), Told()
    door.refusals.append(web.Response(status=418, headers={"Retry-After": "1"}))
    async with exchange("binance", door) as played, stream_of(played, connected, told):
        while not told.told:  # noqa: ASYNC110 (the stream tells it)
            await asyncio.sleep(0.01)
        socket = await gate_of(played, connected).open(lambda: open_socket(played.row.ws_url))
        await socket.close()
        refused, *let_in = door.knocks
        assert min(let_in) - refused >= 1.0


async def test_a_lost_frame_is_told_as_a_resumption(connected: redis.asyncio.Redis) -> None:
    door = Door()
    async with exchange("coinbase", door) as played, stream_of(played, connected) as stream:
        socket = await door.socket()
        at = "2026-04-07T14:30:06Z"
        confirmed = [{"subscriptions": {"user": ["u"]}}]
        await socket.send(
            {"channel": "subscriptions", "timestamp": at, "sequence_num": 0, "events": confirmed}
        )
        await socket.send({"channel": "heartbeats", "timestamp": at, "sequence_num": 2, "events": []})
        assert kinds(await take(stream, 2)) == ["resumed", "resumed"]
        assert stream.reconnects == 0


async def test_a_listen_key_is_kept_alive_and_its_end_survived(connected: redis.asyncio.Redis) -> None:
    door = Door()
    async with exchange("binance_us", door) as played:
        async with stream_of(played, connected, keepalive_s=0.05) as stream:
            socket = await door.socket()
            assert socket.path == "/ws/listen"
            assert kinds(await take(stream, 1)) == ["resumed"], "the address is subscription enough"
            await socket.send(TRADE)
            (fill,) = await take(stream, 1)
            assert (fill.kind, fill.fill_id) == (UserEventKind.FILL, "77")
            await asyncio.wait_for(door.prolonged.wait(), 60)
            await socket.send({"e": "listenKeyExpired", "E": 1, "listenKey": "listen"})
            await door.socket()
            assert kinds(await take(stream, 1)) == ["resumed"]
        asked = [(r.method, r.query_string) for r in played.requests if r.path.endswith("userDataStream")]
        assert asked.count(("POST", "")) == 2
        assert ("PUT", "listenKey=listen") in asked
        assert all("X-MBX-APIKEY" in r.headers for r in played.requests if r.path.endswith("userDataStream"))


@pytest.mark.parametrize("trouble", ["cut", "eventStreamTerminated", "unconfirmed", "old"])
async def test_a_broken_channel_comes_again(connected: redis.asyncio.Redis, trouble: str) -> None:
    door = Door()
    quirks = {"lifetime_s": 2.0} if trouble == "old" else {}
    async with exchange("binance", door) as played, stream_of(played, connected, **quirks) as stream:

        def patient_the_second_time() -> None:
            stream._ack_patience_s = 0.2 if trouble == "unconfirmed" and len(door.knocks) == 1 else 60.0
            if len(door.knocks) > 1:
                stream._channel.lifetime_s = 60.0

        door.at_knock = patient_the_second_time
        socket = await door.socket()
        if trouble != "unconfirmed":
            await socket.send(FLOWS)
        if trouble == "eventStreamTerminated":
            await socket.send({"subscriptionId": 0, "event": {"e": trouble, "E": 1}})
        if trouble == "cut":
            await socket.cut()
        again = await door.socket()
        await again.send(FLOWS)
        expected = 1 if trouble == "unconfirmed" else 2
        assert kinds(await take(stream, expected)) == ["resumed"] * expected


async def test_a_refusal_the_signed_reads_confirm_ends_the_stream(connected: redis.asyncio.Redis) -> None:
    refused = {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}
    door = Door(lambda _: reply(refused, 401))
    async with exchange("binance", door) as played, stream_of(played, connected) as stream:
        socket = await door.socket()
        await socket.send({"id": 1, "status": 401, "error": refused})
        with pytest.raises(CredentialsRefused, match="-2015"):
            await take(stream, 1)


async def test_a_refusal_for_the_time_sets_the_clock_and_comes_again(
    connected: redis.asyncio.Redis,
) -> None:
    """The exchange's clock is 9 s behind: the channel is refused, the signed read measures it."""
    behind_ms = 9_000

    def account(request: web.Request) -> web.Response:
        early = int(request.query["timestamp"]) < CLOCK.now_ms() - behind_ms + 1000
        return reply(ACCOUNT) if early else reply(SKEWED, 400)

    door = Door(account)

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/time"):
            return reply({"serverTime": CLOCK.now_ms() - behind_ms})
        return await door(request)

    begun_ms = CLOCK.now_ms()
    async with exchange("binance", answer) as played, stream_of(played, connected) as stream:
        first = await door.socket()
        assert (await first.told())["params"]["timestamp"] >= begun_ms
        await first.send({"id": 1, "status": 400, "error": SKEWED})
        second = await door.socket()
        assert (await second.told())["params"]["timestamp"] < CLOCK.now_ms() - 8_000
        await second.send(FLOWS)
        assert kinds(await take(stream, 1)) == ["resumed"]


async def test_closing_ends_the_loop_without_an_error(connected: redis.asyncio.Redis) -> None:
    door = Door()
    async with exchange("binance", door) as played, stream_of(played, connected) as stream:
        reading = asyncio.create_task(take(stream, 1))
        await door.socket()
        await stream.close()
        assert await asyncio.wait_for(reading, 60) == []


async def test_events_nobody_fetches_become_one_that_says_so(connected: redis.asyncio.Redis) -> None:
    async with exchange("binance", Door()) as played:
        stream = stream_of(played, connected)
        stream._events = asyncio.Queue(3)
        for number in range(4):
            stream._put(UserEvent(UserEventKind.FILL, "ETHBTC", "7", str(number), 1))
        assert kinds(await take(stream, 1)) == ["resumed"]
        assert stream._events.empty()
        await stream.close()


@pytest.mark.parametrize("name", ["binance", "binance_us", "coinbase"])
async def test_no_log_line_of_any_library_holds_a_secret(
    connected: redis.asyncio.Redis, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where a process logs everything there is."""
    caplog.set_level(logging.DEBUG)
    door = Door(lambda _: reply({"accounts": [], "has_next": False, "cursor": ""} | ACCOUNT))
    credentials = COINBASE if name == "coinbase" else BINANCE
    async with exchange(name, door) as played:
        client = account_client_for(played.row, credentials, connected, CLOCK)
        await client.check()
        await client.close()
        async with stream_of(played, connected) as stream:
            socket = await door.socket()
            await socket.send(FLOWS)
            await socket.send({"channel": "subscriptions", "events": [{"subscriptions": {"user": ["u"]}}]})
            await take(stream, 1)
        tokens = {r.headers.get("authorization", "")[7:] for r in played.requests}
        signatures = {r.query.get("signature", "") for r in played.requests}
    assert caplog.records
    for secret in {*tokens, *signatures, credentials.key, credentials.secret, "ws/listen", "eyJ"} - {""}:
        assert secret not in caplog.text, [line for line in caplog.text.splitlines() if secret in line][:3]
