"""Accounts of simulated exchanges, their truth, and a reader in a process of its own that can be killed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import httpx
import psycopg

from livermore_dagster.market.decimals import exact
from livermore_dagster.market.fees import FeeReport, month_of
from livermore_dagster.stores.postgres.user_exchanges import upsert_account
from livermore_dagster.stores.postgres.users import User, insert_user, read_users
from livermore_dagster.trades.session import AccountSession, open_account
from tests.integration.ingest.played import IDS, Platform

T = TypeVar("T")
Sums = tuple[int, int, Decimal, Decimal]
"""Orders, fills, volume, fees."""

READER = """
import asyncio, json, sys
import structlog
from livermore_dagster.platform.config import Settings
from livermore_dagster.trades.history import read_history
from livermore_dagster.trades.session import open_account

# What is slow is logged: standard output is for progress alone.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def main():
    async with open_account(int(sys.argv[2]), sys.argv[1], Settings.from_environment()) as session:
        tell = lambda progress: print(json.dumps([progress.kind, progress.pages]), flush=True)
        for kind in ("fills", "orders"):
            report = await read_history(session, kind, tell)
            told = ["done", kind, report.pages, report.rows, report.new, report.resumed]
            print(json.dumps(told), flush=True)

asyncio.run(main())
"""


def create(platform: Platform, exchange: str, name: str, **sizes: Any) -> dict[str, Any]:
    """A simulated account as the control door shows it, key and secret included."""
    url = f"{platform.addresses[exchange]['control_url']}/accounts"
    reply = httpx.post(url, json={"account": name, **sizes}, timeout=60)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def place(platform: Platform, exchange: str, **wanted: str) -> None:
    """One trade at the market's price, now."""
    url = f"{platform.addresses[exchange]['control_url']}/fill"
    reply = httpx.post(url, json=wanted, timeout=30)
    assert reply.status_code == 200, reply.text


def variables(exchange: str) -> tuple[str, str]:
    return f"TEST_{exchange.upper()}_KEY", f"TEST_{exchange.upper()}_SECRET"


def environment(exchange: str, shown: Mapping[str, Any]) -> dict[str, str]:
    key, secret = variables(exchange)
    return {key: shown["key"], secret: shown["secret"].replace("\n", "\\n")}


def register(platform: Platform, exchange: str, markets: list[str] | None = None) -> int:
    """The account of user ana, without asking the exchange."""
    return asyncio.run(_register(platform, exchange, markets or []))


async def _register(platform: Platform, exchange: str, markets: list[str]) -> int:
    async with await psycopg.AsyncConnection.connect(platform.database_url) as connection:
        known = await read_users(connection, "ana")
        user = (
            known[0].id
            if known
            else await insert_user(connection, User(0, "local", "ana", "", "Ana", None, "admin"))
        )
        assert user is not None
        return await upsert_account(connection, user, IDS[exchange], *variables(exchange), markets)


def truth(platform: Platform, exchange: str, name: str) -> dict[str, Any]:
    url = f"{platform.addresses[exchange]['control_url']}/account-truth"
    return dict(httpx.get(url, params={"account": name}, timeout=60).raise_for_status().json())


def in_session(
    platform: Platform, exchange: str, account_id: int, work: Callable[[AccountSession], Awaitable[T]]
) -> T:
    async def run() -> T:
        async with open_account(account_id, exchange, platform) as session:
            return await work(session)

    return asyncio.run(run())


def start_reader(
    platform: Platform, exchange: str, account_id: int, secrets: Mapping[str, str], home: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", READER, exchange, str(account_id)],
        env={**platform.environment(), "LIVERMORE_HOME": home, **secrets},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def told_lines(process: subprocess.Popen[str]) -> tuple[list[Any], str]:
    out, err = process.communicate(timeout=120)
    return [json.loads(line) for line in out.splitlines()], err


def requests_sent(platform: Platform, exchange: str, endpoint: str) -> int:
    """By all processes together, those that were killed included."""
    return platform.counters(exchange).get(f"rest_requests:{endpoint}", 0)


def expected(fills: list[dict[str, Any]], *names: str) -> dict[tuple[str, ...], Sums]:
    """Straight sums of the truth by quote and `names` (symbol, side, month); fees in quote only."""
    orders: dict[tuple[str, ...], set[tuple[str, str]]] = defaultdict(set)
    found: dict[tuple[str, ...], list[Any]] = defaultdict(lambda: [0, Decimal(0), Decimal(0)])
    with exact():
        for fill in fills:
            row = {**fill, "month": month_of(fill["at_ms"])}
            key = (fill["quote"], *(row[name] for name in names))
            orders[key].add((fill["symbol"], fill["order_id"]))
            sums = found[key]
            sums[0] += 1
            sums[1] += Decimal(fill["value"])
            sums[2] += Decimal(fill["fee"]) if fill["fee_currency"] == fill["quote"] else 0
    return {key: (len(orders[key]), *sums) for key, sums in found.items()}


def reported(report: FeeReport, table: str, *names: str) -> dict[tuple[str, ...], Sums]:
    lines = getattr(report, table)
    return {
        (line.quote, *(str(getattr(line, name)) for name in names)): (
            line.orders, line.fills, line.volume, line.fees,
        )
        for line in lines
    }  # fmt: skip
