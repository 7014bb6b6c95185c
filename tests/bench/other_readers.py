"""What cryptofeed's and ccxt's own handlers take for a kline frame, in an environment of their own.

Run by tests.bench with the interpreter of .venv-bench; imports nothing of Livermore. Reads frames, one a
line, from standard input and prints {"cryptofeed": frames a second, "ccxt": …, "versions": {…}}.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

ROUNDS = 15


def bases(frames: Sequence[str]) -> list[str]:
    """Of all symbols in the frames, each once."""
    return sorted({json.loads(frame)["s"].removesuffix("USDT") for frame in frames})


def cryptofeed(frames: Sequence[str]) -> float:
    """`Binance.message_handler`, with a callback that does nothing."""
    from cryptofeed.defines import CANDLES
    from cryptofeed.exchanges import Binance
    from cryptofeed.symbols import Symbol, Symbols

    names = {Symbol(base, "USDT").normalized: f"{base}USDT" for base in bases(frames)}
    Symbols.set(Binance.id, names, {"instrument_type": dict.fromkeys(names, "spot")})

    async def callback(_candle: object, _received: float) -> None: ...

    feed = Binance(symbols=list(names), channels=[CANDLES], callbacks={CANDLES: callback})
    feed.candle_closed_only = False
    # It reads combined streams only, so its frames come as they would for it.
    wrapped = [f'{{"stream":"{json.loads(frame)["s"].lower()}@kline_1m","data":{frame}}}' for frame in frames]

    async def read() -> float:
        speeds = []
        for _ in range(ROUNDS):
            began = time.process_time()
            for frame in wrapped:
                await feed.message_handler(frame, None, 0.0)
            speeds.append(len(frames) / (time.process_time() - began))
        return statistics.median(speeds)

    return asyncio.run(read())


def ccxt(frames: Sequence[str]) -> float:
    """What its client does with a text message: parse (orjson where it is there), then `handle_message`."""
    from ccxt.pro import binance

    async def read() -> float:
        exchange = binance({"newUpdates": True})
        exchange.set_markets([
            {"id": f"{base}USDT", "symbol": f"{base}/USDT", "base": base, "quote": "USDT", "type": "spot",
             "spot": True, "precision": {"price": 8, "amount": 8}, "limits": {}, "active": True}
            for base in bases(frames)
        ])  # fmt: skip
        client = exchange.client(exchange.urls["api"]["ws"]["spot"] + "/ws")
        speeds = []
        for _ in range(ROUNDS):
            began = time.process_time()
            for frame in frames:
                client.handle_text_or_binary_message(frame)
            speeds.append(len(frames) / (time.process_time() - began))
        if len(exchange.ohlcvs) != len(bases(frames)):
            raise RuntimeError("ccxt kept no candle")
        await exchange.close()
        return statistics.median(speeds)

    return asyncio.run(read())


def main() -> None:
    frames = sys.stdin.read().splitlines()
    found: dict[str, Any] = {"versions": {name: version(name) for name in ("cryptofeed", "ccxt")}}
    found["cryptofeed"], found["ccxt"] = cryptofeed(frames), ccxt(frames)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
