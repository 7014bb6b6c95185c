"""Reads an account by Binance's own lightweight client, signed; run by its own environment.

Standard input: JSON {url, key, secret, markets, commission: whether rates are told by market}, so that no
secret is on a command line. Prints JSON {orders, fills, account, commission} as the client gives them, pages
joined.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from binance.spot import Spot

ROWS = 1000


def every(read: Callable[[int], list[dict[str, Any]]], name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    first = 0
    while True:
        page = read(first)
        found += page
        if len(page) < ROWS:
            return found
        first = page[-1][name] + 1


def main() -> None:
    task = json.loads(sys.stdin.read())
    client = Spot(api_key=task["key"], api_secret=task["secret"], base_url=task["url"])
    read: dict[str, Any] = {"orders": [], "fills": [], "commission": {}, "account": client.account()}
    for market in task["markets"]:
        read["orders"] += every(
            lambda first, market=market: client.get_orders(market, orderId=first, limit=ROWS), "orderId"
        )
        read["fills"] += every(
            lambda first, market=market: client.my_trades(market, fromId=first, limit=ROWS), "id"
        )
        if task["commission"]:
            read["commission"][market] = client.query_commission_rates(market)
    sys.stdout.write(json.dumps(read))


if __name__ == "__main__":
    main()
