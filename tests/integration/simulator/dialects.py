"""The three exchanges spoken by a test: the same questions to each, in its own words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from livermore_dagster.market.candle import canonical
from tests.integration.simulator.played import MINUTE, Played, Socket

FIVE = 5 * MINUTE
EXCHANGES = ("binance", "binance_us", "coinbase")
COINBASE = "/api/v3/brokerage"


@dataclass(frozen=True)
class Shown:
    """A 5-minute candle as a frame or a row shows it."""

    symbol: str
    open_ms: int
    close: str
    volume: str
    stamp_ms: int = 0
    kind: str = "update"
    """update, closed (Binance's flag) or snapshot (Coinbase)."""


@dataclass(frozen=True)
class Dialect:
    name: str

    @property
    def is_coinbase(self) -> bool:
        return self.name == "coinbase"

    def symbol(self, base: str) -> str:
        return f"{base}-USD" if self.is_coinbase else f"{base}USDT"

    @property
    def path(self) -> str:
        return "" if self.is_coinbase else "/ws"

    def subscribe(self, *symbols: str) -> list[Any]:
        """Messages for 5-minute candles, and for a pulse that no fault aimed at a candle's symbol stops."""
        if self.is_coinbase:
            return [
                {"type": "subscribe", "channel": "heartbeats"},
                {"type": "subscribe", "channel": "candles", "product_ids": list(symbols)},
            ]
        names = [f"{symbol.lower()}@kline_5m" for symbol in symbols]
        return [{"method": "SUBSCRIBE", "params": [*names, f"{self.symbol('XRP').lower()}@ticker"], "id": 7}]

    def is_answer(self, frame: Any) -> bool:
        if self.is_coinbase:
            return bool(frame.get("type") == "error") or "candles" in str(frame.get("events", ""))
        return bool(frame.get("id") == 7)

    def is_pulse(self, frame: Any, now_ms: int) -> bool:
        stamp = self.stamp(frame)
        is_beat = frame.get("channel") == "heartbeats" or frame.get("e") == "24hrTicker"
        return is_beat and stamp >= now_ms

    def stamp(self, frame: Any) -> int:
        if self.is_coinbase:
            text = str(frame.get("timestamp", "1970-01-01T00:00:00.000"))[:23]
            return round(datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000)
        return int(frame.get("E", 0))

    def candles(self, frames: list[Any]) -> list[Shown]:
        if not self.is_coinbase:
            return [
                Shown(
                    frame["s"], frame["k"]["t"], canonical(frame["k"]["c"]), canonical(frame["k"]["v"]),
                    frame["E"], "closed" if frame["k"]["x"] else "update",
                )
                for frame in frames
                if frame.get("e") == "kline"
            ]  # fmt: skip
        return [
            Shown(
                row["product_id"], int(row["start"]) * 1000, row["close"], row["volume"],
                self.stamp(frame), event["type"],
            )
            for frame in frames
            if frame.get("channel") == "candles"
            for event in frame["events"]
            for row in event["candles"]
        ]  # fmt: skip

    async def open(self, socket: Socket, *symbols: str) -> None:
        """Subscribes and waits for the answer."""
        for message in self.subscribe(*symbols):
            await socket.say(message)
        await socket.until(self.is_answer)

    async def turn(self, played: Played, socket: Socket, after_ms: int = 2500) -> list[Shown]:
        """Moves market time past the next 5-minute boundary; the candles shown on the way."""
        held = len(socket.frames)
        now = played.now()
        # Two steps, so that an update of the open candle falls before its last frame.
        for target in (now - now % FIVE + FIVE - 20_000, now - now % FIVE + FIVE + after_ms):
            played.advance(max(0, target - played.now()))
            # Candles are sent more often than pulses: between two of them, the open one.
            await self.pulse(played, socket)
            await self.pulse(played, socket)
        return [shown for shown in self.candles(socket.frames[held:]) if shown.kind != "snapshot"]

    async def pulse(self, played: Played, socket: Socket) -> None:
        """Waits for a sign of life stamped now or later."""
        now = played.now()
        await socket.until(lambda frame: self.is_pulse(frame, now))

    # --- REST -------------------------------------------------------------------------------------------
    async def ask(self, played: Played, symbol: str, rows: int = 4) -> httpx.Response:
        """5-minute rows up to now, the open one included."""
        now = played.now()
        start = now - now % FIVE - (rows - 1) * FIVE
        if self.is_coinbase:
            query = {"start": start // 1000, "end": now // 1000, "granularity": "FIVE_MINUTE"}
            return await played.get(self.name, f"{COINBASE}/market/products/{symbol}/candles", **query)
        query = {"symbol": symbol, "interval": "5m", "startTime": start}
        return await played.get(self.name, "/api/v3/klines", **query)

    async def rows(self, played: Played, symbol: str, rows: int = 4) -> list[Shown]:
        """The same, oldest first."""
        reply = await self.ask(played, symbol, rows)
        assert reply.status_code == 200, reply.text
        if self.is_coinbase:
            return [
                Shown(symbol, int(row["start"]) * 1000, row["close"], row["volume"])
                for row in reversed(reply.json()["candles"])
            ]
        return [Shown(symbol, row[0], canonical(row[4]), canonical(row[5])) for row in reply.json()]

    async def stated_ms(self, played: Played) -> int:
        path = f"{COINBASE}/time" if self.is_coinbase else "/api/v3/time"
        body = (await played.get(self.name, path)).json()
        return int(body["epochMillis"] if self.is_coinbase else body["serverTime"])

    async def final(self, played: Played, symbol: str, open_ms: int) -> Shown:
        """The truth of one candle."""
        (candle,) = await played.truth(self.name, symbol, "5m", open_ms, open_ms + 1)
        return Shown(symbol, open_ms, candle["close"], candle["volume"])


async def struck(played: Played, spoken: Dialect, kind: str) -> int:
    """How often faults of the kind struck."""
    counters = await played.control(spoken.name, "counters")
    return int(counters["faults_done_by_kind"][kind])


def values(shown: Shown) -> tuple[int, str, str]:
    return shown.open_ms, shown.close, shown.volume
