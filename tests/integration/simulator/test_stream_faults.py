"""Each fault of the sockets, in each exchange's dialect."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import pytest
import websockets

from livermore_dagster.simulator.clock import ManualClock
from livermore_dagster.simulator.server import Simulator
from tests.integration.simulator.conftest import START, Played, Socket
from tests.integration.simulator.dialects import FIVE, Dialect, struck, values


async def test_a_stall_stops_the_candles_and_nothing_else(quick: Played, spoken: Dialect) -> None:
    one, other = spoken.symbol("BTC"), spoken.symbol("ETH")
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, one, other)
        await quick.order(spoken.name, kind="stall", symbol=one, duration_s=300)
        seen = await spoken.turn(quick, socket)
        assert {shown.symbol for shown in seen} == {other}
        await asyncio.wait_for(await socket.connection.ping(), 60)
        if spoken.is_coinbase:
            numbers = [frame["sequence_num"] for frame in socket.frames]
            assert numbers == list(range(len(numbers)))
    assert await struck(quick, spoken, "stall") > 0


async def test_silence_leaves_nothing_not_even_a_pong(quick: Played, spoken: Dialect) -> None:
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, spoken.symbol("BTC"))
        await quick.order(spoken.name, kind="silence", duration_s=300)
        pong = await socket.connection.ping()
        quick.advance(2 * FIVE)
        with pytest.raises(TimeoutError):
            await socket.until(lambda frame: spoken.stamp(frame) > quick.now() - FIVE, seconds=0.6)
        assert not pong.done()


@pytest.mark.parametrize(("kind", "code"), [("drop", None), ("close", 1012)])
async def test_connections_are_cut_or_closed(
    quick: Played, spoken: Dialect, kind: str, code: int | None
) -> None:
    async with (
        quick.socket(spoken.name, spoken.path) as one,
        quick.socket(spoken.name, spoken.path) as other,
    ):
        for socket in (one, other):
            await spoken.open(socket, spoken.symbol("BTC"))
        first = (await quick.control(spoken.name, "connections"))[0]["id"]
        body = {"kind": kind, "connection": first, **({"code": code} if code else {})}
        await quick.order(spoken.name, **body)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await one.until(lambda _: False)
        assert (closed.value.rcvd.code if closed.value.rcvd else None) == code
        await spoken.turn(quick, other)
    assert await struck(quick, spoken, kind) == 1


async def test_nothing_is_sent_again_after_a_cut(quick: Played, spoken: Dialect) -> None:
    symbol = spoken.symbol("BTC")
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, symbol)
    missed = quick.now() - quick.now() % FIVE
    quick.advance(3 * FIVE)
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, symbol)
        seen = await spoken.turn(quick, socket)
        assert not [shown for shown in seen if shown.open_ms <= missed]


async def test_an_act_waits_for_its_market_time(quick: Played, spoken: Dialect) -> None:
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, spoken.symbol("BTC"))
        await quick.order(spoken.name, kind="drop", from_ms=quick.now() + 2 * FIVE)
        await spoken.turn(quick, socket)
        quick.advance(2 * FIVE)
        with pytest.raises(websockets.ConnectionClosed):
            await socket.until(lambda _: False)


async def test_a_shutdown_is_announced_by_binance_alone(quick: Played, spoken: Dialect) -> None:
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, spoken.symbol("BTC"))
        await quick.order(spoken.name, kind="shutdown", duration_s=1.2)
        with pytest.raises(websockets.ConnectionClosedError):
            await socket.until(lambda _: False)
        told = [frame for frame in socket.frames if frame.get("e") == "serverShutdown"]
        assert bool(told) is not spoken.is_coinbase


@pytest.mark.parametrize("kind", ["duplicate", "reorder", "lose", "replay"])
async def test_frames_come_twice_late_never_or_again(quick: Played, spoken: Dialect, kind: str) -> None:
    symbol = spoken.symbol("BTC")
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, symbol)
        await quick.order(spoken.name, kind=kind, symbol=symbol, channel="candles", timeframe="5m", count=1)
        seen = await spoken.turn(quick, socket)
        seen += await spoken.turn(quick, socket)
    order = [(shown.stamp_ms, *values(shown)) for shown in seen]
    assert await struck(quick, spoken, kind) == 1
    match kind:
        case "duplicate":
            assert len(order) == len(set(order)) + 1
        case "reorder":
            assert order != sorted(order)
            assert len(order) == len(set(order))
        case "replay":
            assert len(order) == len(set(order)) + 1
            assert order != sorted(order)
        case "lose":
            assert len(order) == len(set(order))
    if spoken.is_coinbase:
        numbers = [frame["sequence_num"] for frame in socket.frames if "sequence_num" in frame]
        has_hole = sorted(set(numbers)) != list(range(len(set(numbers))))
        assert has_hole is (kind == "lose")


async def test_a_frame_may_come_cut_in_half(quick: Played, spoken: Dialect) -> None:
    symbol = spoken.symbol("BTC")
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, symbol)
        await quick.order(spoken.name, kind="garble", symbol=symbol, channel="candles", count=1)
        with pytest.raises(json.JSONDecodeError):
            await spoken.turn(quick, socket)


async def test_a_lag_delays_all_and_changes_nothing(quick: Played, spoken: Dialect) -> None:
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, spoken.symbol("BTC"))
        await quick.order(spoken.name, kind="lag", delay_s=1.5, duration_s=20)
        begun, moved = time.monotonic(), quick.now() + 20_000
        quick.advance(20_000)
        await socket.until(lambda frame: spoken.stamp(frame) >= moved)
        assert time.monotonic() - begun >= 1.5
        stamps = [spoken.stamp(frame) for frame in socket.frames if spoken.stamp(frame)]
        assert stamps == sorted(stamps)


async def test_a_number_may_be_left_out(by_hand: Played) -> None:
    quick, spoken = by_hand, Dialect("coinbase")
    await quick.order("coinbase", "settings", update_s=0.04, beat_s=0.1)
    async with quick.socket("coinbase") as socket:
        await spoken.open(socket, "BTC-USD")
        await quick.order("coinbase", kind="sequence_gap", count=1)
        await spoken.turn(quick, socket)
        numbers = [frame["sequence_num"] for frame in socket.frames]
        assert len(set(range(numbers[-1] + 1)) - set(numbers)) == 1
    reply = await quick.http.post(
        f"{quick.simulator.control_url('binance')}/faults", json={"kind": "sequence_gap"}
    )
    assert reply.status_code == 400
    assert "binance numbers no frames" in reply.json()["error"]


async def test_the_last_frame_of_a_candle_may_be_lost(quick: Played, spoken: Dialect) -> None:
    symbol = spoken.symbol("BTC")
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, symbol)
        ending = quick.now() - quick.now() % FIVE
        await quick.order(spoken.name, kind="lose_close", symbol=symbol, timeframe="5m", count=1)
        seen = await spoken.turn(quick, socket)
        final = await spoken.final(quick, symbol, ending)
        assert values(final) not in [values(shown) for shown in seen]
        assert not [shown for shown in seen if shown.kind == "closed"]
        # The next one ends as always.
        ending += FIVE
        seen = await spoken.turn(quick, socket)
        assert values(await spoken.final(quick, symbol, ending)) in [values(shown) for shown in seen]
        if spoken.is_coinbase:
            numbers = [frame["sequence_num"] for frame in socket.frames]
            assert len(set(range(numbers[-1] + 1)) - set(numbers)) == 1


@pytest.mark.parametrize("settle_ms", [None, 30_000])
async def test_a_streamed_final_may_be_revised(quick: Played, spoken: Dialect, settle_ms: int | None) -> None:
    symbol = spoken.symbol("BTC")
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, symbol)
        ending = quick.now() - quick.now() % FIVE
        body: dict[str, Any] = {"kind": "revise_stream", "symbol": symbol, "count": 1}
        if settle_ms is not None:
            body["settle_ms"] = settle_ms
        await quick.order(spoken.name, **body)
        await spoken.turn(quick, socket)
        quick.advance(30_000)
        await spoken.pulse(quick, socket)
        of_it = [shown for shown in spoken.candles(socket.frames) if shown.open_ms == ending]
        said = [values(shown) for shown in of_it if shown.stamp_ms >= ending + FIVE]
        final = values(await spoken.final(quick, symbol, ending))
        assert len(said) == (2 if settle_ms else 1)
        assert said[0] != final
        assert (said[-1] == final) is bool(settle_ms)
        # REST holds the final values all the time.
        assert final in [values(shown) for shown in await spoken.rows(quick, symbol)]


async def test_first_values_after_a_subscription_may_be_old(quick: Played, spoken: Dialect) -> None:
    symbol = spoken.symbol("BTC")
    quick.advance(FIVE - quick.now() % FIVE + 200_000)
    opened = quick.now() - quick.now() % FIVE
    await quick.order(spoken.name, kind="stale_snapshot", symbol=symbol, stale_ms=120_000, count=1)
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, symbol)
        await socket.until(lambda frame: spoken.candles([frame]) != [] or spoken.candles(socket.frames) != [])
        first = next(shown for shown in spoken.candles(socket.frames) if shown.open_ms == opened)
        assert first.stamp_ms == quick.now()
        (now,) = [shown for shown in await spoken.rows(quick, symbol) if shown.open_ms == opened]
        assert float(first.volume) < float(now.volume)
    assert await struck(quick, spoken, "stale_snapshot") == 1


async def test_a_subscription_may_die_and_be_asked_for_again(quick: Played, spoken: Dialect) -> None:
    one, other = spoken.symbol("BTC"), spoken.symbol("ETH")
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, one, other)
        await spoken.turn(quick, socket)
        await quick.order(spoken.name, kind="dead_subscription", symbol=one, channel="candles")
        await until_struck(quick, spoken, "dead_subscription", socket)
        seen = await spoken.turn(quick, socket)
        assert {shown.symbol for shown in seen} == {other}
        await spoken.open(socket, one)
        seen = await spoken.turn(quick, socket)
        assert {shown.symbol for shown in seen} == {one, other}


async def until_struck(played: Played, spoken: Dialect, kind: str, socket: Socket) -> None:
    while not await struck(played, spoken, kind):
        await socket.until(lambda _: True)


async def test_a_refused_symbol_stays_silent_beside_a_pulse(quick: Played, spoken: Dialect) -> None:
    one, other = spoken.symbol("BTC"), spoken.symbol("ETH")
    await quick.order(spoken.name, kind="refuse_subscription", symbol=one, count=1)
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, one, other)
        seen = await spoken.turn(quick, socket)
        assert {shown.symbol for shown in seen} == {other}
        if not spoken.is_coinbase:
            await socket.say({"method": "LIST_SUBSCRIPTIONS", "id": 9})
            listed = await socket.until(lambda frame: frame.get("id") == 9)
            assert f"{one.lower()}@kline_5m" not in listed["result"]


async def test_a_message_may_be_rejected_unheard_or_unanswered(quick: Played, spoken: Dialect) -> None:
    symbol = spoken.symbol("BTC")
    message = spoken.subscribe(symbol)[-1]
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, spoken.symbol("ETH"))

        async def say(kind: str) -> list[Any]:
            held = len(socket.frames)
            await quick.order(spoken.name, kind=kind, count=1)
            await socket.say(message)
            await until_struck(quick, spoken, kind, socket)
            await spoken.turn(quick, socket)
            return socket.frames[held:]

        def answers(frames: list[Any]) -> list[Any]:
            return [f for f in frames if f.get("id") == 7 or f.get("channel") == "subscriptions"]

        rejected = await say("reject_subscription")
        assert [frame for frame in rejected if "error" in frame or frame.get("type") == "error"]
        assert not [shown for shown in spoken.candles(rejected) if shown.symbol == symbol]
        unheard = await say("lost_request")
        assert not answers(unheard)
        assert not [shown for shown in spoken.candles(unheard) if shown.symbol == symbol]
        unanswered = await say("lost_ack")
        assert not answers(unanswered)
        assert [shown for shown in spoken.candles(unanswered) if shown.symbol == symbol]


async def test_a_message_may_be_one_too_many(quick: Played, spoken: Dialect) -> None:
    async with quick.socket(spoken.name, spoken.path) as socket:
        await quick.order(spoken.name, kind="rate_cut", count=1)
        await socket.say(spoken.subscribe(spoken.symbol("BTC"))[-1])
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.until(lambda _: False)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


async def test_upgrades_may_be_refused_or_left_hanging(quick: Played, spoken: Dialect) -> None:
    await quick.order(spoken.name, kind="refuse_connection", status=429, count=1)
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with quick.socket(spoken.name, spoken.path):
            pass
    assert refused.value.response.status_code == 429
    await quick.order(spoken.name, kind="hang_connection", delay_s=0.5, count=1)
    begun = time.monotonic()
    with pytest.raises(websockets.InvalidStatus):
        async with quick.socket(spoken.name, spoken.path):
            pass
    assert time.monotonic() - begun >= 0.5


@pytest.mark.parametrize("skew_ms", [-3000, 3000])
async def test_the_clock_may_be_off_everywhere_or_in_one_place(
    quick: Played, spoken: Dialect, skew_ms: int
) -> None:
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, spoken.symbol("BTC"))

        async def stated() -> tuple[int, int]:
            """How far REST's time and the stream's stamps are off."""
            # A millisecond tells what is stamped from now on from what was under way.
            quick.advance(1)
            now = quick.now()
            await socket.until(
                lambda frame: spoken.stamp(frame) > 0 and spoken.stamp(frame) % 1000 == now % 1000
            )
            return await spoken.stated_ms(quick) - now, spoken.stamp(socket.frames[-1]) - now

        assert await stated() == (0, 0)
        for where, off in (
            ({}, (skew_ms, skew_ms)), ({"where": "rest"}, (skew_ms, 0)), ({"where": "stream"}, (0, skew_ms))
        ):  # fmt: skip
            until = quick.now() + 1000
            await quick.order(spoken.name, kind="skew", skew_ms=skew_ms, until_ms=until, **where)
            assert await stated() == off
            quick.advance(1000)
            assert await stated() == (0, 0)


async def test_faults_strike_together_and_leave_the_truth_alone(quick: Played, spoken: Dialect) -> None:
    one, other = spoken.symbol("BTC"), spoken.symbol("ETH")
    orders: tuple[dict[str, Any], ...] = (
        {"kind": "stall", "symbol": one},
        {"kind": "duplicate", "symbol": other, "channel": "candles"},
        {"kind": "revise_stream", "symbol": other},
        {"kind": "skew", "skew_ms": -3000, "where": "stream"},
        {"kind": "late_row", "symbol": other},
        {"kind": "revise", "symbol": one},
    )
    begun = quick.now() - quick.now() % FIVE
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, one, other)
        for order in orders:
            await quick.order(spoken.name, **order, duration_s=300)
        quick.advance(FIVE + 40_000)
        await socket.until(lambda frame: spoken.is_pulse(frame, quick.now() - 3000))
        await spoken.rows(quick, one)
        await spoken.rows(quick, other)
        assert {shown.symbol for shown in spoken.candles(socket.frames) if shown.kind != "snapshot"} == {
            other
        }
    for order in orders:
        assert await struck(quick, spoken, order["kind"]) > 0, order
    clock = ManualClock(START)
    async with (
        Simulator([spoken.name], seed=7, clock=clock, symbols=20) as calm,
        httpx.AsyncClient(timeout=60) as http,
    ):
        clock.advance(quick.now() - START)
        for symbol in (one, other):
            untouched = await Played(calm, http).truth(spoken.name, symbol, "5m", begun, begun + FIVE)
            assert await quick.truth(spoken.name, symbol, "5m", begun, begun + FIVE) == untouched
            assert len(untouched) == 1
