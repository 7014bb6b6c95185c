"""Reads candles from given addresses with independent clients; run by the oracle environment.

Argument: JSON {binance, binance_us, coinbase: REST address; until: epoch ms; bases; timeframes}.
Prints JSON {reader: {base: {timeframe: [[open ms, open, high, low, close, volume], …]}}}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import ccxt
from binance_common.configuration import ConfigurationRestAPI
from binance_sdk_spot.spot import Spot


def by_ccxt(name: str, url: str, task: dict[str, Any]) -> dict[str, Any]:
    client = {"binance": ccxt.binance, "binance_us": ccxt.binanceus, "coinbase": ccxt.coinbase}[name]()
    if name == "coinbase":
        client.urls["api"]["rest"] = url
    else:
        client.urls["api"]["public"] = f"{url}/api/v3"
        client.options["fetchMarkets"] = {"types": ["spot"]}
    client.has["fetchCurrencies"] = False
    client.load_markets()
    quote = "USD" if name == "coinbase" else "USDT"
    read: dict[str, Any] = {}
    for base in task["bases"]:
        for timeframe in task["timeframes"]:
            step = client.parse_timeframe(timeframe) * 1000
            rows = client.fetch_ohlcv(
                f"{base}/{quote}", timeframe, since=task["until"] - 250 * step, limit=250
            )
            read.setdefault(base, {})[timeframe] = rows
    return read


def by_binance(url: str, task: dict[str, Any]) -> dict[str, Any]:
    client = Spot(config_rest_api=ConfigurationRestAPI(base_path=url))
    units = {"m": 60, "h": 3600, "d": 86_400}
    read: dict[str, Any] = {}
    for base in task["bases"]:
        for timeframe in task["timeframes"]:
            step = int(timeframe[:-1]) * units[timeframe[-1]] * 1000
            reply = client.rest_api.klines(
                symbol=f"{base}USDT", interval=timeframe, start_time=task["until"] - 250 * step, limit=250
            )
            rows = json.loads(json.dumps(reply.data(), default=lambda item: item.to_dict()))
            read.setdefault(base, {})[timeframe] = [[int(row[0]), *row[1:6]] for row in rows]
    return read


def main() -> None:
    task = json.loads(sys.argv[1])
    read = {f"ccxt {name}": by_ccxt(name, task[name], task) for name in ("binance", "binance_us", "coinbase")}
    for name in ("binance", "binance_us"):
        read[f"sdk {name}"] = by_binance(task[name], task)
    sys.stdout.write(json.dumps(read))


if __name__ == "__main__":
    main()
