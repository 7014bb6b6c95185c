"""A real instance of 500 symbols is commanded while it warms up and passes a boundary, and is killed."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field

import psycopg
import pytest

from livermore_dagster.control.commands.message import CommandType
from livermore_dagster.control.commands.sender import Answer, Verdict, send_command
from livermore_dagster.exchanges.factory import row_named
from livermore_dagster.stores.postgres.commands import read_commands
from livermore_dagster.stores.postgres.users import User, insert_user
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect_async
from tests.integration.ingest.played import IDS, Platform, played, until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

START_MS = 1_767_701_655_000  # 2026-01-06T12:14:15Z: the boundary comes while it warms up
SYMBOLS, SENDERS, EACH = 500, 20, 50
ACK_P99_MS = 100.0
BINANCE = row_named("binance")


@dataclass
class Sent:
    """What one sender sent, in its order, with what he asked for."""

    sub: str
    symbol: str
    answers: list[tuple[str, Answer]] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    """Milliseconds until the acknowledgement, of what was answered before the kill."""


async def _add_users(database_url: str) -> list[str]:
    subs = [f"sender-{number}" for number in range(SENDERS)]
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        for sub in subs:
            await insert_user(connection, User(0, "local", sub, "", sub, None, "admin"))
    return subs


def _instance(market: Platform) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "livermore_dagster.ingest", "binance"],
        env=market.environment(),
        stderr=subprocess.DEVNULL,
    )


async def _one_sender(market: Platform, sent: Sent, half: asyncio.Event, done: list[None]) -> None:
    """Adds its symbol, which is monitored anyway, and removes it again; steers in between."""
    client = connect_async(market.redis_url)
    kinds = ("add-symbol", "start", "resume", "start", "remove-symbol", "resume", "start", "resume")
    try:
        for place in range(EACH):
            kind = kinds[place % len(kinds)]
            payload = {"symbol": sent.symbol} if kind.endswith("symbol") else {}
            answer = await send_command(
                client, BINANCE, sent.sub, CommandType(kind), payload, patience_s=60.0
            )
            sent.answers.append((kind, answer))
            if answer.ack_ms is not None and not half.is_set():
                sent.before.append(answer.ack_ms)
            done.append(None)
            if len(done) >= SENDERS * EACH // 2:
                half.set()
    finally:
        await client.aclose()


async def _storm(market: Platform, subs: list[str]) -> list[Sent]:
    first = await asyncio.to_thread(_instance, market)
    second: subprocess.Popen[bytes] | None = None
    try:
        await asyncio.to_thread(until, lambda: market.state("binance") == "warming", 120, "warming")
        senders = [Sent(sub, symbol) for sub, symbol in zip(subs, market.symbols("binance"), strict=False)]
        half, done = asyncio.Event(), list[None]()
        async with asyncio.TaskGroup() as tasks:
            for one in senders:
                tasks.create_task(_one_sender(market, one, half, done))
            await half.wait()
            first.kill()
            await asyncio.to_thread(first.wait)
            second = await asyncio.to_thread(_instance, market)
        return senders
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                await asyncio.to_thread(process.wait)


def test_a_thousand_commands_to_a_busy_instance_that_is_killed_among_them(redis_url, database_url) -> None:
    market_of = played(redis_url, database_url, ["binance"], 1.0, START_MS, symbols=SYMBOLS + 60)
    with market_of as market:
        subs = asyncio.run(_add_users(database_url))
        market.want("binance", top=SYMBOLS)
        senders = asyncio.run(_storm(market, subs))
        answers = [answer for one in senders for _, answer in one.answers]
        verdicts = Counter(answer.verdict for answer in answers)
        # Nobody: sent while the first was dead and the second had not begun. All others have a definite end.
        assert set(verdicts) <= {
            Verdict.DONE, Verdict.REFUSED, Verdict.NOBODY, Verdict.FAILED, Verdict.EXPIRED,
        }, verdicts  # fmt: skip
        assert len(answers) == SENDERS * EACH
        assert verdicts[Verdict.DONE] >= 0.85 * len(answers), verdicts
        acks = [ack_ms for one in senders for ack_ms in one.before]
        p99 = statistics.quantiles(acks, n=100)[98]
        print(f"verdicts {dict(verdicts)}, ACK p50 {statistics.median(acks):.1f} p99 {p99:.1f} ms")  # noqa: T201
        _ran_once_each(market, senders)
        assert p99 < ACK_P99_MS
        with market.redis() as client:
            assert client.hlen(keys.command_bodies(IDS["binance"])) == 0
            assert client.hlen(keys.command_running(IDS["binance"])) == 0
        assert market.counters("binance").get("http_429", 0) == 0


def _ran_once_each(market: Platform, senders: list[Sent]) -> None:
    """An addition that ran twice would have found its symbol there, a removal would have found nothing."""

    async def history() -> list[str]:
        async with await psycopg.AsyncConnection.connect(market.database_url) as connection:
            found = await read_commands(connection, limit=10_000)
        return [one.correlation_id for one in found]

    known = asyncio.run(history())
    assert len(known) == len(set(known))
    for one in senders:
        there: bool | None = False
        for kind, answer in one.answers:
            if not kind.endswith("symbol") or answer.verdict is Verdict.NOBODY:
                continue
            if answer.verdict is Verdict.DONE and answer.reply is not None:
                outcome = answer.reply.result["outcomes"][one.symbol]
                if there is not None:
                    expected = {"add-symbol": "unchanged" if there else "added", "remove-symbol": "removed"}
                    assert outcome == expected[kind], (one.sub, kind, outcome, there)
                there = kind == "add-symbol"
            elif answer.verdict is Verdict.REFUSED:
                assert kind == "remove-symbol", answer.words
                assert there is not True, answer.words
            elif answer.verdict is not Verdict.EXPIRED:
                there = None  # it was running when the instance was killed: nobody knows
