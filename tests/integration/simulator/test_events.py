"""What befalls a market shows alike in truth, REST and stream; recorded series are played as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from livermore_dagster.errors import BadSetting
from livermore_dagster.simulator.clock import ManualClock
from livermore_dagster.simulator.recorded import RecordedFile, parse_recorded
from livermore_dagster.simulator.server import Simulator
from tests.integration.simulator.dialects import COINBASE, FIVE, Dialect, values
from tests.integration.simulator.played import MINUTE, START, Played
from tests.recorded import recorded

HOUR = 60 * MINUTE


async def befall(played: Played, spoken: Dialect, **event: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await played.order(spoken.name, "market", **event)
    return answer


async def opens(played: Played, spoken: Dialect, symbol: str, timeframe: str) -> list[int]:
    """Opens of the final candles since the start."""
    truth = await played.truth(spoken.name, symbol, timeframe, START, played.now())
    return [row["open_ms"] for row in truth]


async def test_downtime_is_a_real_hole_and_the_exchange_is_dark(quick: Played, spoken: Dialect) -> None:
    symbol = spoken.symbol("BTC")
    begins = START + 7 * MINUTE
    await befall(quick, spoken, event="outage", at_ms=begins, minutes=12)
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, symbol)
        quick.advance(8 * MINUTE)
        with pytest.raises(websockets.ConnectionClosed):
            await socket.until(lambda _: False)
    assert (await spoken.ask(quick, symbol)).status_code == 503
    with pytest.raises(websockets.InvalidStatus):
        async with quick.socket(spoken.name, spoken.path):
            pass
    quick.advance(20 * MINUTE)
    lacking = set(range(START, START + 28 * MINUTE, MINUTE)) - set(await opens(quick, spoken, symbol, "1m"))
    assert lacking == set(range(begins, begins + 12 * MINUTE, MINUTE))
    # Two whole 5-minute buckets lie in it; those it begins and ends in hold what was traded.
    assert await opens(quick, spoken, symbol, "5m") == [START + n * FIVE for n in (0, 1, 3, 4)]
    rows = [row.open_ms for row in await spoken.rows(quick, symbol, 6)]
    assert rows == [START + n * FIVE for n in (0, 1, 3, 4, 5)]


async def test_candles_open_off_the_grid_after_an_outage(quick: Played, spoken: Dialect) -> None:
    symbol = spoken.symbol("BTC")
    await befall(
        quick, spoken, event="outage", at_ms=START + 3 * MINUTE, minutes=9, off_grid_rows=3, dark=False
    )
    ended = START + 12 * MINUTE
    expected = [START, ended, ended + FIVE, ended + 2 * FIVE, START + 5 * FIVE]
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, symbol)
        for _ in range(31):
            quick.advance(MINUTE)
            await spoken.pulse(quick, socket)
        streamed = {shown.open_ms: shown for shown in spoken.candles(socket.frames) if shown.open_ms >= START}
    assert await opens(quick, spoken, symbol, "5m") == expected
    rows = {row.open_ms: row for row in await spoken.rows(quick, symbol, 7)}
    for open_ms in expected:
        final = values(await spoken.final(quick, symbol, open_ms))
        assert values(rows[open_ms]) == final
        assert values(streamed[open_ms]) == final
    assert set(streamed) - {START + 6 * FIVE} == set(expected)
    # The hour's candles stand off the grid as well, and are whole.
    quick.advance(5 * HOUR)
    hours = await opens(quick, spoken, symbol, "1h")
    again = START + 5 * HOUR // 2
    assert hours[:5] == [ended, ended + HOUR, ended + 2 * HOUR, again, again + HOUR]


async def test_a_second_grid_is_refused(quick: Played, spoken: Dialect) -> None:
    await befall(quick, spoken, event="outage", minutes=3, off_grid_rows=2)
    again = {"event": "outage", "minutes": 4, "off_grid_rows": 2}
    reply = await quick.http.post(f"{quick.simulator.control_url(spoken.name)}/market", json=again)
    assert reply.status_code == 400
    assert "one such" in reply.json()["error"]


async def status_of(played: Played, spoken: Dialect, symbol: str) -> str:
    """How the exchange states it: 'trading', 'halted', or 'unknown'."""
    if spoken.is_coinbase:
        reply = await played.get(spoken.name, f"{COINBASE}/market/products/{symbol}")
        halted = reply.status_code == 200 and reply.json()["trading_disabled"]
    else:
        reply = await played.get(spoken.name, "/api/v3/exchangeInfo", symbol=symbol)
        halted = reply.status_code == 200 and reply.json()["symbols"][0]["status"] == "BREAK"
    return "unknown" if reply.status_code != 200 else "halted" if halted else "trading"


async def test_a_halt_is_stated_and_nothing_trades(quick: Played, spoken: Dialect) -> None:
    symbol = spoken.symbol("BTC")
    await befall(quick, spoken, event="halt", symbol=symbol, at_ms=START + 5 * MINUTE, minutes=10)
    assert await status_of(quick, spoken, symbol) == "trading"
    quick.advance(6 * MINUTE)
    assert await status_of(quick, spoken, symbol) == "halted"
    quick.advance(10 * MINUTE)
    assert await status_of(quick, spoken, symbol) == "trading"
    truth = await quick.truth(spoken.name, symbol, "1m", START, START + 16 * MINUTE)
    traded = [(row["open_ms"] - START) // MINUTE for row in truth if row["trades"]]
    assert traded == [0, 1, 2, 3, 4, 15]


async def test_a_symbol_is_listed_and_another_delisted(quick: Played, spoken: Dialect) -> None:
    old, new = spoken.symbol("ETH"), spoken.symbol("FRESH")
    await befall(quick, spoken, event="delisting", symbol=old, at_ms=START + 6 * MINUTE)
    await befall(quick, spoken, event="listing", base="FRESH", price=2.5, at_ms=START + 5 * MINUTE)
    assert await status_of(quick, spoken, new) == "unknown"
    async with quick.socket(spoken.name, spoken.path) as socket:
        await spoken.open(socket, old)
        quick.advance(11 * MINUTE)
        await spoken.pulse(quick, socket)
        assert await status_of(quick, spoken, new) == "trading"
        assert await status_of(quick, spoken, old) == "unknown"
        await spoken.open(socket, new)
        seen = await spoken.turn(quick, socket)
        assert {shown.symbol for shown in seen} == {new}
    assert (await spoken.ask(quick, old)).status_code in (400, 404)
    assert await opens(quick, spoken, old, "1m") == [START + n * MINUTE for n in range(6)]
    assert await opens(quick, spoken, new, "5m") == [START + FIVE, START + 2 * FIVE]


async def test_ranks_change(quick: Played, spoken: Dialect) -> None:
    async def ranked() -> list[str]:
        symbols = await quick.control(spoken.name, "symbols")
        ranked = sorted(symbols, key=lambda one: -one["quote_volume_24h"])
        return [one["symbol"] for one in ranked if not one["alias_of"]]

    first, symbol = (await ranked())[0], spoken.symbol("LTC")
    assert first != symbol
    await befall(quick, spoken, event="volume", symbol=symbol, quote_volume=9e11)
    assert (await ranked())[0] == first
    quick.advance(MINUTE)
    assert (await ranked())[0] == symbol
    if spoken.is_coinbase:
        product = (await quick.get(spoken.name, f"{COINBASE}/market/products/{symbol}")).json()
        assert float(product["approximate_quote_24h_volume"]) == 9e11
    else:
        ticker = (await quick.get(spoken.name, "/api/v3/ticker/24hr", symbol=symbol)).json()
        assert float(ticker["quoteVolume"]) > 1e11


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({}, "unknown event None; there are outage"),
        ({"event": "flood"}, "unknown event 'flood'"),
        ({"event": "halt", "minutes": 3}, "unknown symbol None"),
        ({"event": "halt", "symbol": "NOPE", "minutes": 3}, "unknown symbol 'NOPE'"),
        ({"event": "outage"}, "minutes must be a whole number, not None"),
        ({"event": "outage", "minutes": 0}, "between 1 and"),
        ({"event": "outage", "minutes": 3, "at_ms": START + 90_000}, "whole minute"),
        ({"event": "outage", "minutes": 3, "at_ms": START}, "must lie between"),
        ({"event": "outage", "minutes": 3, "dark": 1}, "true or false, not 1"),
        ({"event": "outage", "minutes": 3, "symbol": "BTCUSDT"}, "outage takes event, at_ms, minutes"),
        ({"event": "listing", "base": "low"}, "capital letters and digits, not 'low'"),
        ({"event": "listing", "base": "BTC"}, "is listed already"),
    ],
)
async def test_bad_events_are_refused_with_words(by_hand: Played, event: dict[str, Any], words: str) -> None:
    reply = await by_hand.http.post(f"{by_hand.simulator.control_url('binance')}/market", json=event)
    assert reply.status_code == 400
    assert words in reply.json()["error"]


async def test_events_are_remembered_over_a_restart(tmp_path: Path) -> None:
    anchor = tmp_path / "market.json"

    async def look(*, order: bool) -> Any:
        simulator = Simulator(["binance"], seed=5, speed=60, start_ms=START, anchor=anchor)
        async with simulator, httpx.AsyncClient(timeout=60) as http:
            url = simulator.control_url("binance")
            if order:
                body = {"event": "delisting", "symbol": "ETHUSDT"}
                assert (await http.post(f"{url}/market", json=body)).status_code == 200
            return (await http.get(f"{url}/market")).json()

    ordered = await look(order=True)
    assert [event["event"] for event in ordered] == ["delisting"]
    assert await look(order=False) == ordered


# --- recorded series --------------------------------------------------------------------------------------
def series(path: Path) -> list[dict[str, Any]]:
    """Two hours of 1-hour candles, then one that stands off the grid."""
    made = [
        {"open_ms": START - START % HOUR + offset, "open": "1.5", "high": f"{2 + n}", "low": "1.25",
         "close": f"{1.5 + n * 0.25}", "volume": f"{n}.5"}
        for n, offset in enumerate((0, HOUR, 2 * HOUR + HOUR // 2))
    ]  # fmt: skip
    path.write_text(json.dumps(made))
    return made


async def test_a_recorded_series_is_played_as_it_was(tmp_path: Path) -> None:
    made = series(tmp_path / "ada.json")
    file = RecordedFile("binance", "ADAUSDT", "1h", tmp_path / "ada.json")
    clock = ManualClock(START)
    async with (
        Simulator(["binance"], clock=clock, recorded=[file]) as simulator,
        httpx.AsyncClient(timeout=60) as http,
    ):
        played = Played(simulator, http)
        await played.order("binance", "settings", update_s=0.04, beat_s=0.1)
        async with played.socket("binance", "/ws/adausdt@kline_1h/btcusdt@ticker") as socket:
            clock.advance(4 * HOUR)
            await Dialect("binance").pulse(played, socket)
            closed = {f["k"]["t"]: f["k"] for f in socket.frames if f.get("k", {}).get("x")}
        query = {"symbol": "ADAUSDT", "interval": "1h", "startTime": START - HOUR}
        rows = (await played.get("binance", "/api/v3/klines", **query)).json()
        truth = await played.truth("binance", "ADAUSDT", "1h", START - HOUR, clock.now_ms())
        minutes = await played.get("binance", "/api/v3/klines", symbol="ADAUSDT", interval="1m")
    wanted = [(row["open_ms"], float(row["close"]), float(row["volume"])) for row in made]
    assert [(row[0], float(row[4]), float(row[5])) for row in rows] == wanted
    assert [(row["open_ms"], float(row["close"]), float(row["volume"])) for row in truth] == wanted
    assert [(t, float(k["c"]), float(k["v"])) for t, k in closed.items()] == wanted
    assert minutes.json() == []


async def test_the_owners_recorded_candles_can_be_played() -> None:
    path = recorded("candles/binance_NEOBTC_4h_1581774982.csv")
    clock = ManualClock(1_581_774_000_000)
    file = RecordedFile("binance", "NEOBTC", "4h", path)
    async with (
        Simulator(["binance"], clock=clock, recorded=[file]) as simulator,
        httpx.AsyncClient(timeout=60) as http,
    ):
        played = Played(simulator, http)
        truth = await played.truth("binance", "NEOBTC", "4h", 0 + 1_524_542_400_000, clock.now_ms())
        rows = []
        since = truth[0]["open_ms"]
        while page := (
            await played.get("binance", "/api/v3/klines", symbol="NEOBTC", interval="4h", startTime=since)
        ).json():
            rows += page
            since = page[-1][0] + 1
    off_grid = [row for row in truth if row["open_ms"] % (4 * HOUR)]
    assert len(off_grid) == 9
    assert [row[0] for row in rows][: len(truth)] == [row["open_ms"] for row in truth]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("{}", "list of objects"),
        ("[]", "no rows"),
        ('[{"open_ms": 60000}]', "Row 1"),
        ('[{"open_ms": 60001, "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}]', "whole minute"),
        ('[{"open_ms": 60000, "open": 1, "high": 1, "low": 2, "close": 1, "volume": 1}]', "fit together"),
        ('[{"open_ms": 60000, "open": 1, "high": 1, "low": 1, "close": 1, "volume": -1}]', "negative"),
    ],
)
def test_bad_series_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(BadSetting, match=words):
        Simulator(["binance"], clock=ManualClock(START), recorded=[RecordedFile("binance", "X", "1h", path)])


@pytest.mark.parametrize("text", ["", "binance:ADAUSDT=x.csv", "binance:ADAUSDT:7m=x.csv", "a:b:1h="])
def test_a_recorded_option_must_say_what_it_is(text: str) -> None:
    with pytest.raises(BadSetting, match="--recorded"):
        parse_recorded(text)
