"""Reads an account by Coinbase's own client, signed; run by its own environment.

Standard input: JSON {url, key, secret}, so that no secret is on a command line. Prints JSON {orders, fills,
tier, accounts} as the client gives them, pages joined.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from coinbase.rest import RESTClient
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter


class Plain(HTTPAdapter):
    """The client always says https; the simulated exchange is asked without. What was signed stays."""

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        request.url = str(request.url).replace("https://", "http://", 1)
        return super().send(request, *args, **options)


def every(read: Callable[..., Any], rows: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = read(**({"cursor": cursor} if cursor else {})).to_dict()
        found += page[rows]
        cursor = page.get("cursor")
        if not cursor or page.get("has_next") is False:
            return found


def main() -> None:
    task = json.loads(sys.stdin.read())
    client = RESTClient(api_key=task["key"], api_secret=task["secret"], base_url=urlsplit(task["url"]).netloc)
    client.session.mount("https://", Plain())
    read = {
        "orders": every(lambda **more: client.list_orders(limit=100, **more), "orders"),
        "fills": every(lambda **more: client.get_fills(limit=100, **more), "fills"),
        "accounts": every(lambda **more: client.get_accounts(limit=250, **more), "accounts"),
        "tier": client.get_transaction_summary(product_type="SPOT").to_dict(),
    }
    sys.stdout.write(json.dumps(read))


if __name__ == "__main__":
    main()
