"""One WebSocket against the simulator, and against a small server that misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from websockets.asyncio.server import ServerConnection, serve

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.budget import RateBudget
from livermore_dagster.exchanges.closure import SharedClosure
from livermore_dagster.exchanges.connection import Connection, ConnectionLost
from livermore_dagster.exchanges.contract import (
    BudgetRule,
    CandleFrame,
    Heartbeat,
    Refusal,
    SequenceGap,
    ShutdownNotice,
    StreamEvent,
    TickerFrame,
)
from livermore_dagster.exchanges.factory import dialect_for
from livermore_dagster.exchanges.gate import Gate
from livermore_dagster.exchanges.rows import BINANCE
from livermore_dagster.ingest.connections import ConnectionHub, Wiring
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from tests.eventually import eventually
from tests.integration.exchanges.conftest import Field

M1, M5 = Timeframe.M1, Timeframe.M5


async def until(
    connection: Connection, enough: Callable[[list[StreamEvent]], bool], seconds: float = 60.0
) -> list[StreamEvent]:
    """All events up to the burst after which `enough` holds."""
    seen: list[StreamEvent] = []
    async with asyncio.timeout(seconds):
        async for events in connection:
            seen += events
            if enough(seen):
                return seen
    raise AssertionError("the connection ended early")


def symbols_of(events: list[StreamEvent], kind: type = CandleFrame) -> set[str]:
    return {event.symbol for event in events if isinstance(event, kind)}


async def test_binance_streams_candles_and_tickers(at_sixty: Field) -> None:
    symbols = ["BTCUSDT", "ETHUSDT"]
    async with at_sixty.connection("binance", symbols, (M1, M5)) as connection:
        seen = await until(
            connection,
            lambda events: (
                symbols_of(events) == symbols_of(events, TickerFrame) == set(symbols)
                and any(isinstance(e, CandleFrame) and e.closed for e in events)
            ),
        )
        assert connection.acknowledged == set(symbols)
        assert {e.timeframe for e in seen if isinstance(e, CandleFrame)} <= {M1, M5}
        assert connection.stats.frames > 0
        assert connection.last_frame_at >= connection.opened_at > 0


async def test_coinbase_primes_with_snapshots_and_beats(at_sixty: Field) -> None:
    async with at_sixty.connection("coinbase", ["BTC-USD", "ETH-USD"], (M5,)) as connection:
        seen = await until(
            connection,
            lambda events: (
                symbols_of(events) >= {"BTC-USD", "ETH-USD"}
                and any(isinstance(e, Heartbeat) for e in events)
                and any(isinstance(e, CandleFrame) and not e.snapshot for e in events)
            ),
        )
        assert any(isinstance(e, CandleFrame) and e.snapshot for e in seen)
        assert not any(isinstance(e, SequenceGap) for e in seen)
        assert connection.acknowledged == {"BTC-USD", "ETH-USD"}


async def test_symbols_come_and_go_on_one_connection(at_sixty: Field) -> None:
    async with at_sixty.connection("binance", ["BTCUSDT"], (M1,)) as connection:
        await until(connection, lambda events: symbols_of(events) == {"BTCUSDT"})
        await connection.resubscribe(["ETHUSDT", "BTCUSDT"], [])
        await until(connection, lambda events: "ETHUSDT" in symbols_of(events))
        await connection.resubscribe([], ["BTCUSDT"])
        assert connection.symbols == ("ETHUSDT",)

        async def only_the_other() -> bool:
            open_now = await at_sixty.control("binance", "connections")
            return [c["streams"] for c in open_now] == [["ethusdt@kline_1m", "ethusdt@ticker"]]

        await eventually(only_the_other)
        await until(connection, lambda events: len(events) > 6 and symbols_of(events[-5:]) == {"ETHUSDT"})


async def test_a_refused_subscription_is_asked_again_then_told_by_name(at_sixty: Field) -> None:
    await at_sixty.order("coinbase", kind="refuse_subscription", symbol="ETH-USD", duration_s=60)
    async with at_sixty.connection("coinbase", ["BTC-USD", "ETH-USD"], (M5,), 1.5) as connection:
        seen = await until(connection, lambda events: any(isinstance(e, Refusal) for e in events))
        assert [e.symbol for e in seen if isinstance(e, Refusal)] == ["ETH-USD"]
        assert connection.acknowledged == {"BTC-USD"}
        assert connection.stats.subscribe_retries == 2


async def test_a_subscription_refused_once_is_mended(at_sixty: Field) -> None:
    await at_sixty.order("coinbase", kind="refuse_subscription", symbol="ETH-USD", count=1)
    async with at_sixty.connection("coinbase", ["BTC-USD", "ETH-USD"], (M5,), 1.0) as connection:
        seen = await until(connection, lambda events: "ETH-USD" in symbols_of(events))
        assert not any(isinstance(e, Refusal) for e in seen)
        assert connection.acknowledged == {"BTC-USD", "ETH-USD"}


async def test_a_lost_frame_is_a_sequence_gap(at_sixty: Field) -> None:
    async with at_sixty.connection("coinbase", ["BTC-USD"], (M5,)) as connection:
        await until(connection, lambda events: "BTC-USD" in symbols_of(events))
        await at_sixty.order("coinbase", kind="lose", count=2)
        await until(connection, lambda events: any(isinstance(e, SequenceGap) for e in events))
        assert connection.stats.sequence_gaps >= 1


async def test_a_cut_connection_says_so_and_a_new_one_flows(at_sixty: Field) -> None:
    async with at_sixty.connection("binance", ["BTCUSDT"], (M1,)) as connection:
        await until(connection, lambda events: "BTCUSDT" in symbols_of(events))
        await at_sixty.order("binance", kind="drop")
        with pytest.raises(ConnectionLost) as lost:
            await until(connection, lambda events: False)
        assert lost.value.retryable
    async with at_sixty.connection("binance", ["BTCUSDT"], (M1,)) as again:
        await until(again, lambda events: "BTCUSDT" in symbols_of(events))


async def test_an_announced_end_and_a_refused_upgrade(at_sixty: Field) -> None:
    async with at_sixty.connection("binance", ["BTCUSDT"], (M1,)) as connection:
        await until(connection, lambda events: "BTCUSDT" in symbols_of(events))
        await at_sixty.order("binance", kind="shutdown", duration_s=5)
        await until(connection, lambda events: any(isinstance(e, ShutdownNotice) for e in events))
    await at_sixty.order("binance", kind="refuse_connection", count=1)
    with pytest.raises(ConnectionLost, match="503") as lost:
        async with at_sixty.connection("binance", ["BTCUSDT"], (M1,)):
            pass
    assert lost.value.retryable


class Sink:
    """Notes what lines tell."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.changed = asyncio.Event()

    def on_open(self, connection: str, symbols: Sequence[str]) -> None:
        self._note("open", connection)

    def on_events(self, connection: str, events: Sequence[StreamEvent]) -> None: ...
    def on_break(self, connection: str, reason: str) -> None: ...
    def on_failure(self, connection: str, reason: str) -> None: ...
    def on_unrenewed(self, connection: str) -> None: ...
    async def ready(self) -> None: ...

    def on_limited(self, connection: str, status: int, reason: str) -> None:
        self._note(str(status), connection)

    def _note(self, what: str, connection: str) -> None:
        self.told.append((what, connection))
        self.changed.set()

    async def until(self, what: str, times: int) -> None:
        async with asyncio.timeout(60):
            while [one for one, _ in self.told].count(what) < times:
                self.changed.clear()
                await self.changed.wait()


@pytest.mark.parametrize("status", [429, 418])
async def test_all_lines_keep_away_for_as_long_as_a_refused_upgrade_says(
    at_sixty: Field, status: int
) -> None:
    """A client that asks again within the two seconds is refused again, which the exchange counts. A ban is
    REST's too."""
    sink = Sink()
    budget = RateBudget(at_sixty.redis, 2, BudgetRule(10, 1000), at_sixty.clock)
    gate = Gate(at_sixty.clock, SharedClosure(at_sixty.redis, 2, budget))
    quirks = dataclasses.replace(dialect_for(at_sixty.row("binance")).quirks, symbols_per_connection=1)

    def connect(symbols: Sequence[str], _name: str) -> Connection:
        return at_sixty.connection("binance", list(symbols), (M1,))

    wiring = Wiring(quirks, connect, sink, at_sixty.clock, lambda: None, gate=gate)
    first, *others = ConnectionHub("x", ["BTCUSDT", "ETHUSDT", "SOLUSDT"], wiring).lines
    wanted = {"kind": "refuse_connection", "status": status, "retry_after_s": 2, "duration_s": 2}
    await at_sixty.order("binance", **wanted)
    begun, begun_ms = at_sixty.clock.monotonic(), at_sixty.clock.now_ms()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(first.run())]
        await sink.until(str(status), 1)
        told_ms, shut_until = (
            at_sixty.clock.now_ms(),
            await at_sixty.redis.hget(keys.budget(2), "closed_until"),
        )
        tasks += [group.create_task(line.run()) for line in others]
        await sink.until("open", 3)
        took = at_sixty.clock.monotonic() - begun
        for task in tasks:
            task.cancel()
    assert took >= 2.0
    assert sink.told[0] == (str(status), "x-1#1")
    assert (await at_sixty.control("binance", "counters"))["ws_refused"] == 1
    assert (shut_until is not None) == (status == 418)
    assert shut_until is None or begun_ms + 2000 <= int(shut_until) <= told_ms + 2000


# --- a small server of our own --------------------------------------------------------------------------
@contextlib.asynccontextmanager
async def played(
    talk: Callable[[ServerConnection], Awaitable[None]], symbols: list[str], patience_s: float = 10.0
) -> AsyncIterator[Connection]:
    async with serve(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        row = dataclasses.replace(BINANCE, ws_url=f"ws://127.0.0.1:{port}")
        yield Connection(
            row, dialect_for(row), symbols, (M1,), SystemClock(), "played", ack_patience_s=patience_s
        )


async def test_messages_keep_the_exchanges_pace() -> None:
    times: list[float] = []
    done = asyncio.Event()
    begun = asyncio.get_running_loop().time()

    async def talk(socket: ServerConnection) -> None:
        async for message in socket:
            times.append(asyncio.get_running_loop().time())
            await socket.send(json.dumps({"result": None, "id": json.loads(message)["id"]}))
            if len(times) == 5:
                done.set()

    symbols = [f"S{n}USDT" for n in range(125)]
    async with played(talk, symbols) as connection, connection:
        await asyncio.wait_for(done.wait(), 60)
        await until_acknowledged(connection, set(symbols))
    # The first may be heard late, but was not sent before this.
    assert times[4] - begun >= 0.9, "five messages at four a second"


async def until_acknowledged(connection: Connection, symbols: set[str]) -> None:
    await until(connection, lambda _: connection.acknowledged == symbols)


async def test_partial_refusals_do_not_take_the_others_along() -> None:
    """A message with one bad symbol is refused whole; asked alone, the good ones are taken."""

    async def talk(socket: ServerConnection) -> None:
        async for message in socket:
            asked = json.loads(message)
            bad = any(stream.startswith("bad") for stream in asked["params"])
            answer = {"error": {"code": 2, "msg": "no"}} if bad else {"result": None}
            await socket.send(json.dumps({**answer, "id": asked["id"]}))

    async with played(talk, ["AUSDT", "BADUSDT", "CUSDT"]) as connection, connection:
        seen = await until(connection, lambda events: any(isinstance(e, Refusal) for e in events))
        assert connection.acknowledged == {"AUSDT", "CUSDT"}
        assert [(e.symbol, e.reason) for e in seen if isinstance(e, Refusal)] == [("BADUSDT", "2 no")]


async def test_a_slow_sink_gets_everything_in_order_in_few_bursts() -> None:
    frame = (
        '{"e":"kline","E":%d,"s":"AUSDT","k":{"t":0,"i":"1m","o":"1","h":"1","l":"1","c":"1","v":"1","n":1,'
        '"x":false}}'
    )

    async def talk(socket: ServerConnection) -> None:
        await socket.recv()
        for number in range(3000):
            await socket.send(frame % number)
        await socket.wait_closed()

    async with played(talk, ["AUSDT"]) as connection, connection:
        bursts: list[int] = []
        stamps: list[int] = []
        async with asyncio.timeout(60):
            async for events in connection:
                stamps += [event.event_ms for event in events if isinstance(event, CandleFrame)]
                bursts.append(len(events))
                if len(stamps) >= 3000:
                    break
                await asyncio.sleep(0.02)
        assert stamps == list(range(3000))
        assert max(bursts) > 10


async def test_closing_from_our_side_ends_the_loop_without_an_error() -> None:
    async def talk(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async with played(talk, ["AUSDT"]) as connection, connection:
        closing = asyncio.create_task(connection.close())
        assert [events async for events in connection] == []
        await closing


async def test_nobody_listening_is_retryable_and_a_bad_address_is_not() -> None:
    for url, retryable in (("ws://127.0.0.1:9", True), ("nonsense", False)):
        row = dataclasses.replace(BINANCE, ws_url=url)
        connection = Connection(row, dialect_for(row), ["AUSDT"], (M1,), SystemClock(), "nobody")
        with pytest.raises(ConnectionLost) as lost:
            async with connection:
                pass
        assert lost.value.retryable is retryable
