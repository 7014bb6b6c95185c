"""The sockets: frames, order, final values, limits and faults."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
import websockets

from livermore_dagster.market.candle import canonical
from tests.integration.simulator.conftest import MINUTE, START, Played, Socket

FIVE = 5 * MINUTE


def subscribe(channel: str, *ids: str) -> dict[str, Any]:
    return {"type": "subscribe", "channel": channel, "product_ids": list(ids)}


def epoch_ms(timestamp: str) -> int:
    from datetime import datetime

    return int(datetime.fromisoformat(f"{timestamp[:23]}+00:00").timestamp() * 1000)


def candles_of(frames: list[Any], symbol: str, kind: str = "update") -> list[tuple[int, dict[str, str]]]:
    """(envelope ms, candle) of Coinbase frames."""
    return [
        (epoch_ms(frame["timestamp"]), candle)
        for frame in frames
        if frame.get("channel") == "candles"
        for event in frame["events"]
        if event["type"] == kind
        for candle in event["candles"]
        if candle["product_id"] == symbol
    ]


# --- Binance ----------------------------------------------------------------------------------------------
async def test_binance_flags_every_bar_once_with_its_final_values(at_sixty: Played) -> None:
    symbols = ["BTCUSDT", "POWRUSDT", "REQUSDT"]
    names = [f"{symbol.lower()}@kline_{tf}" for symbol in symbols for tf in ("1m", "5m")]
    async with at_sixty.socket("binance", f"/stream?streams={'/'.join(names)}") as socket:
        since = at_sixty.now()
        last = since - since % FIVE + 2 * FIVE
        await socket.until(lambda f: f["data"]["E"] > last + 3000)
        frames = [frame["data"] for frame in socket.frames]
        stamps = [frame["E"] for frame in frames]
        assert stamps == sorted(stamps)
        for symbol in symbols:
            for timeframe, step in (("1m", MINUTE), ("5m", FIVE)):
                bars = [f for f in frames if f["s"] == symbol and f["k"]["i"] == timeframe]
                final = [(f["E"], f["k"]) for f in bars if f["k"]["x"] and f["k"]["t"] < last]
                opens = [k["t"] for _, k in final]
                assert opens == list(range(opens[0], last, step))
                assert all(0 < stamp - k["T"] <= 2000 for stamp, k in final)
                truth = await at_sixty.truth("binance", symbol, timeframe, opens[0], last)
                assert [(k["t"], *(canonical(k[x]) for x in "ohlcv"), k["n"]) for _, k in final] == [
                    (t["open_ms"], t["open"], t["high"], t["low"], t["close"], t["volume"], t["trades"])
                    for t in truth
                ]
        # Bars without trades are flagged too, and open ones are shown between.
        assert any(f["k"]["x"] and f["k"]["n"] == 0 for f in frames)
        assert any(not f["k"]["x"] for f in frames)


async def test_binance_acknowledges_lists_and_unsubscribes(by_hand: Played) -> None:
    async with by_hand.socket("binance", "/ws") as socket:
        await socket.say({"method": "SUBSCRIBE", "params": ["btcusdt@kline_1m", "nope@kline_1m"], "id": 1})
        assert await socket.until(lambda f: f.get("id") == 1) == {"result": None, "id": 1}
        await socket.say({"method": "LIST_SUBSCRIPTIONS", "id": 2})
        listed = await socket.until(lambda f: f.get("id") == 2)
        assert listed["result"] == ["btcusdt@kline_1m", "nope@kline_1m"]
        by_hand.advance(10_000)
        frame = await socket.until(lambda f: f.get("e") == "kline")
        assert frame["k"]["i"] == "1m"
        await socket.say({"method": "UNSUBSCRIBE", "params": ["btcusdt@kline_1m"], "id": 3})
        await socket.until(lambda f: f.get("id") == 3)
        await socket.say("not json")
        assert (await socket.until(lambda f: "error" in f))["error"]["code"] == 3
        await socket.say({"method": "DANCE", "id": 4})
        assert (await socket.until(lambda f: f.get("id") == 4))["error"]["code"] == 2
    counters = await by_hand.control("binance", "counters")
    assert counters["ws_connections"] == 1
    assert counters["subscriptions"] == 0


async def test_binance_sends_tickers_until_the_quotes_stall(by_hand: Played) -> None:
    async with by_hand.socket("binance", "/ws/xrpusdt@ticker/btcusdt@ticker/novausdt@ticker") as socket:
        frame = await socket.until(lambda f: f["s"] == "XRPUSDT")
        assert float(frame["b"]) < float(frame["c"]) < float(frame["a"])
        assert float(frame["l"]) <= float(frame["c"]) <= float(frame["h"])
        by_hand.advance(85 * MINUTE)
        await socket.until(lambda f: f["s"] == "NOVAUSDT")
        socket.frames.clear()
        for _ in range(2):
            await socket.until(lambda f: f["s"] == "BTCUSDT")
        assert not [f for f in socket.frames if f["s"] == "XRPUSDT"]


async def test_binance_limits_messages_and_streams(by_hand: Played) -> None:
    async with by_hand.socket("binance", "/ws") as socket:
        names = [f"s{number}@kline_1m" for number in range(1025)]
        await socket.say({"method": "SUBSCRIBE", "params": names, "id": 1})
        assert "too many" in (await socket.until(lambda f: f.get("id") == 1))["error"]["msg"]
        # So many that in some second there are too many of them, also where some are heard late.
        for number in range(60):
            with suppress(websockets.ConnectionClosed):
                await socket.say({"method": "LIST_SUBSCRIPTIONS", "id": number})
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.until(lambda _: False)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


async def test_a_connection_ends_at_its_age(by_hand: Played) -> None:
    await by_hand.order("binance", "settings", lifetime_s=0.5)
    async with by_hand.socket("binance", "/ws") as socket:
        with pytest.raises(websockets.ConnectionClosedOK):
            await socket.until(lambda _: False)


async def test_the_server_pings_and_cuts_who_does_not_answer(by_hand: Played) -> None:
    await by_hand.order("binance", "settings", ping_s=0.4, pong_s=2.6)
    async with by_hand.socket("binance", "/ws/btcusdt@ticker") as socket:
        begun = time.monotonic()
        await socket.until(lambda _: time.monotonic() - begun > 4.0)
    assert (await by_hand.control("binance", "counters"))["ws_cuts"] == 0


# --- Coinbase ---------------------------------------------------------------------------------------------
async def open_coinbase(socket: Socket, *ids: str) -> None:
    await socket.say({"type": "subscribe", "channel": "heartbeats"})
    await socket.say(subscribe("candles", *ids))
    seen: set[str] = set()

    def is_last(frame: Any) -> bool:
        if frame["channel"] == "candles":
            seen.update(candle["product_id"] for event in frame["events"] for candle in event["candles"])
        return len(seen) == len(set(ids))

    await socket.until(is_last)


async def test_coinbase_snapshots_then_updates_under_the_canonical_id(by_hand: Played) -> None:
    async with by_hand.socket("coinbase") as socket:
        await open_coinbase(socket, "BTC-USDC", "POWR-USD")
        ack = next(f for f in socket.frames if f["channel"] == "subscriptions" and "candles" in str(f))
        assert ack["events"][0]["subscriptions"]["candles"] == ["BTC-USDC", "POWR-USD"]
        for symbol in ("BTC-USD", "POWR-USD"):
            rows = [candle for _, candle in candles_of(socket.frames, symbol, "snapshot")]
            assert 0 < len(rows) <= 100
            starts = [int(row["start"]) for row in rows]
            assert starts == sorted(starts, reverse=True)
            truth = {
                row["open_ms"]: row
                for row in await by_hand.truth("coinbase", symbol, "5m", starts[-1] * 1000, START)
            }
            for row in rows:
                if int(row["start"]) * 1000 in truth:
                    settled = truth[int(row["start"]) * 1000]
                    assert all(
                        row[name] == settled[name] for name in ("open", "high", "low", "close", "volume")
                    )
        by_hand.advance(20_000)
        await socket.until(lambda f: candles_of([f], "BTC-USD"))
        numbers = [frame["sequence_num"] for frame in socket.frames]
        assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("step_ms", [700, 61_000])
async def test_coinbase_gives_final_values_before_its_clock_says_grace(by_hand: Played, step_ms: int) -> None:
    """A client whose clock reads end + 1.5 s has been given the last values of every bucket with trades."""
    symbols = ("BTC-USD", "ETH-USD", "POWR-USD", "NKN-USD")
    async with by_hand.socket("coinbase") as socket:
        await open_coinbase(socket, *symbols)
        stop = START + 2 * FIVE + 5000
        while by_hand.now() < stop:
            by_hand.advance(
                step_ms if by_hand.now() % FIVE > FIVE - 65_000 or by_hand.now() % FIVE < 3000 else 60_000
            )
        await socket.until(lambda f: f["channel"] == "heartbeats" and epoch_ms(f["timestamp"]) >= stop)
        stamps = [epoch_ms(frame["timestamp"]) for frame in socket.frames]
        assert stamps == sorted(stamps)
        for symbol in symbols:
            updates = candles_of(socket.frames, symbol)
            for truth in await by_hand.truth("coinbase", symbol, "5m", START, START + 2 * FIVE):
                end = truth["open_ms"] + FIVE
                given = [
                    (stamp, candle)
                    for stamp, candle in updates
                    if int(candle["start"]) * 1000 == truth["open_ms"]
                ]
                stamp, candle = given[-1]
                assert end < stamp <= end + 1000
                assert all(candle[name] == truth[name] for name in ("open", "high", "low", "close", "volume"))


async def test_coinbase_heartbeats_and_tickers(by_hand: Played) -> None:
    async with by_hand.socket("coinbase") as socket:
        await open_coinbase(socket, "BTC-USD")
        await socket.say(subscribe("ticker", "BTC-USD"))
        ticker = await socket.until(lambda f: f["channel"] == "ticker")
        values = ticker["events"][0]["tickers"][0]
        assert float(values["best_bid"]) < float(values["price"]) < float(values["best_ask"])
        first = await socket.until(lambda f: f["channel"] == "heartbeats")
        second = await socket.until(lambda f: f["channel"] == "heartbeats")
        counts = [f["events"][0]["heartbeat_counter"] for f in (first, second)]
        assert counts[1] == counts[0] + 1


async def test_coinbase_answers_errors(by_hand: Played) -> None:
    async with by_hand.socket("coinbase") as socket:
        for message, words in (
            ("{", "JSON"),
            ({"type": "sing"}, "unrecognized"),
            (subscribe("level3", "BTC-USD"), "not supported"),
            (subscribe("candles"), "no products"),
            (subscribe("candles", "BTC-USD", "NOPE-USD"), "NOPE-USD"),
        ):
            await socket.say(message)
            frame = await socket.until(lambda f: f.get("type") == "error")
            assert words in frame["message"]


async def test_coinbase_cuts_who_does_not_subscribe(by_hand: Played) -> None:
    begun = time.monotonic()
    async with by_hand.socket("coinbase") as socket:
        with pytest.raises(websockets.ConnectionClosed):
            await socket.until(lambda _: False)
    assert time.monotonic() - begun > 4.0


# --- faults -----------------------------------------------------------------------------------------------
async def test_a_drop_cuts_one_connection(by_hand: Played) -> None:
    async with (
        by_hand.socket("binance", "/ws/btcusdt@ticker") as one,
        by_hand.socket("binance", "/ws/btcusdt@ticker") as other,
    ):
        await one.until(lambda f: f["s"] == "BTCUSDT")
        ids = [connection["id"] for connection in await by_hand.control("binance", "connections")]
        await by_hand.order("binance", kind="drop", connection=ids[0])
        with pytest.raises(websockets.ConnectionClosedError):
            await one.until(lambda _: False)
        other.frames.clear()
        await other.until(lambda _: len(other.frames) > 2)


async def test_a_stall_keeps_the_heartbeats(by_hand: Played) -> None:
    async with by_hand.socket("coinbase") as socket:
        await open_coinbase(socket, "BTC-USD", "ETH-USD")
        await by_hand.order("coinbase", kind="stall", symbol="BTC-USD", duration_s=60)
        socket.frames.clear()
        by_hand.advance(FIVE + 2000)
        await socket.until(
            lambda f: f["channel"] == "heartbeats" and epoch_ms(f["timestamp"]) >= by_hand.now()
        )
        assert candles_of(socket.frames, "ETH-USD")
        assert not candles_of(socket.frames, "BTC-USD")
        # No hole in the numbers tells of it.
        numbers = [frame["sequence_num"] for frame in socket.frames]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))


async def test_lost_doubled_and_reordered_frames(by_hand: Played) -> None:
    async with by_hand.socket("coinbase") as socket:
        await open_coinbase(socket, "BTC-USD")

        async def after(**order: Any) -> list[int]:
            await socket.until(lambda f: f["channel"] == "heartbeats")
            await by_hand.order("coinbase", **order)
            del socket.frames[:-1]
            for _ in range(2):
                by_hand.advance(FIVE)
                by_hand.advance(1500)
                seen = by_hand.now()
                await socket.until(
                    lambda f, seen=seen: f["channel"] == "heartbeats" and epoch_ms(f["timestamp"]) >= seen
                )
            return [frame["sequence_num"] for frame in socket.frames]

        lost = await after(kind="lose", count=1)
        assert set(range(lost[0], lost[-1] + 1)) - set(lost)
        doubled = await after(kind="duplicate", count=1)
        assert len(doubled) == len(set(doubled)) + 1
        swapped = await after(kind="reorder", count=1)
        assert swapped != sorted(swapped)
        assert sorted(swapped) == list(range(min(swapped), max(swapped) + 1))


async def test_a_refused_subscription_is_missing_from_the_ack(by_hand: Played) -> None:
    await by_hand.order("coinbase", kind="refuse_subscription", symbol="ETH-USD", count=1)
    async with by_hand.socket("coinbase") as socket:
        await socket.say(subscribe("candles", "BTC-USD", "ETH-USD"))
        ack = await socket.until(lambda f: f["channel"] == "subscriptions")
        assert ack["events"][0]["subscriptions"]["candles"] == ["BTC-USD"]
        await socket.say(subscribe("candles", "ETH-USD"))
        ack = await socket.until(lambda f: f["channel"] == "subscriptions")
        assert ack["events"][0]["subscriptions"]["candles"] == ["BTC-USD", "ETH-USD"]


async def test_binance_announces_its_shutdown(by_hand: Played) -> None:
    async with by_hand.socket("binance", "/ws/btcusdt@kline_1m") as socket:
        await by_hand.control("binance", "connections")
        await by_hand.order("binance", kind="shutdown", duration_s=0.5)
        await socket.until(lambda f: f.get("e") == "serverShutdown")
        with pytest.raises(websockets.ConnectionClosedError):
            await socket.until(lambda _: False)


async def test_connections_may_be_refused(by_hand: Played) -> None:
    await by_hand.order("binance", kind="refuse_connection", count=1)
    with pytest.raises(websockets.InvalidStatus):
        async with by_hand.socket("binance", "/ws"):
            pass
    async with by_hand.socket("binance", "/ws"):
        pass
