"""What the doctor says of an exchange: who is not asked is not called ill."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from pathlib import Path

import psycopg
import pytest

from livermore_dagster.clock import SystemClock
from livermore_dagster.control.claim import Claim
from livermore_dagster.control.states import InstanceState
from livermore_dagster.exchanges.budget import RateBudget
from livermore_dagster.exchanges.contract import BudgetRule, Priority
from livermore_dagster.exchanges.factory import row_named
from livermore_dagster.platform import doctor
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.doctor import Finding, Level
from livermore_dagster.stores.redis.client import connect, connect_async

RULE = BudgetRule(1, 60_000)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(doctor, "EXCHANGE_TIMEOUT_S", 2.0)  # a turn comes within it also where it is slow
    return Settings(redis_url=redis_url, database_url="", home=tmp_path, provenance="live")


def looked_at(settings: Settings, url: str, *, spent: bool) -> list[Finding]:
    """`spent`: another process has used up the request limit."""

    async def look() -> list[Finding]:
        redis = connect_async(settings.redis_url)
        row = dataclasses.replace(row_named("binance"), rest_url=url)
        try:
            budget = RateBudget(redis, row.id, RULE, SystemClock())
            await budget.set_rule(RULE)
            if spent:
                await budget.take(1, Priority.WARMUP)
            return await doctor._exchange(settings, redis, row)
        finally:
            await redis.aclose()

    return asyncio.run(look())


def test_an_exchange_whose_limit_the_warm_up_uses_is_not_ill(settings: Settings) -> None:
    with connect(settings.redis_url) as client:
        claim = Claim(client, row_named("binance").id, "binance")
        claim.acquire()
        claim.advance(InstanceState.STARTING)
        claim.advance(InstanceState.WARMING)
        (found,) = looked_at(settings, "http://127.0.0.1:9", spent=True)
        claim.release()
    assert found.level is Level.WARN
    assert "its request limit was busy with the warm-up" in found.text
    assert "again later" in found.advice
    (found,) = looked_at(settings, "http://127.0.0.1:9", spent=False)  # it still is
    assert "busy with other requests" in found.text


def test_an_exchange_that_was_asked_and_says_nothing_is(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (found,) = looked_at(settings, f"http://127.0.0.1:{silent.getsockname()[1]}", spent=False)
    assert (found.level, found.text) == (Level.FAIL, "no answer within 2 s")


def test_a_database_of_somebody_else_is_said_to_be_that(
    redis_url: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first start, of the server the environment names."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE theirs (a integer)"
        )
    monkeypatch.setenv("LIVERMORE_DATABASE_URL", database_url)
    monkeypatch.setenv("LIVERMORE_REDIS_URL", redis_url)
    found = {one.name: one for one in doctor.examine(tmp_path / "home")}
    assert found["schema"].level is Level.FAIL
    assert "somebody else" in found["schema"].text
    assert "an empty database" in found["schema"].advice, "what `db apply` does not know it would drop"
    assert found["tls"].level is Level.OK, "what was found before is still told"
    assert found["postgresql"].level is Level.OK, found["postgresql"]
