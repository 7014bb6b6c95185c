"""Commands to a real instance of binance, as their senders see them, and what shows that they were obeyed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg

from livermore_dagster.control.commands.message import CommandType, Reply
from livermore_dagster.control.commands.sender import Answer, Verdict, send_command
from livermore_dagster.control.states import InstanceState
from livermore_dagster.exchanges.factory import row_named
from livermore_dagster.stores.postgres.users import User, insert_user
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect_async
from tests.integration.ingest.played import IDS, Platform, until

BINANCE = row_named("binance")


async def add_users(database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        for sub in ("root", "ana"):
            user = User(0, "local", sub, f"{sub}@example.org", sub.title(), None, "admin")
            await insert_user(connection, user)


def order(market: Platform, kind: str, payload: dict[str, Any] | None = None, sub: str = "root") -> Answer:
    """What becomes of this command."""

    async def run() -> Answer:
        client = connect_async(market.redis_url)
        try:
            return await send_command(client, BINANCE, sub, CommandType(kind), payload or {})
        finally:
            await client.aclose()

    return asyncio.run(run())


def done(
    market: Platform, kind: str, payload: dict[str, Any] | None = None, sub: str = "root"
) -> dict[str, Any]:
    answer = order(market, kind, payload, sub)
    assert answer.verdict is Verdict.DONE, answer.words
    assert isinstance(answer.reply, Reply)
    return answer.reply.result


def sockets(market: Platform) -> int:
    return sum(1 for one in market.ask("binance", "connections") if one["streams"])


def status(market: Platform) -> dict[str, Any]:
    with market.redis() as client:
        return json.loads(str(client.get(keys.status(IDS["binance"]))))


def becomes(market: Platform, state: InstanceState, seconds: float = 120) -> None:
    until(lambda: market.state("binance") == state.value, seconds, lambda: f"{state}, is {status(market)}")


def newest(market: Platform, symbol: str) -> int:
    """Open of its newest minute in PostgreSQL."""
    found = market.query(
        "SELECT coalesce(max(open_ms), 0) FROM candles"
        " WHERE exchange_id = %s AND symbol = %s AND timeframe = '1m'",
        IDS["binance"],
        symbol,
    )
    return int(found[0][0])
