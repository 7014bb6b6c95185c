"""Random storms of faults: whatever their order, candles and alerts are those of calm weather.

`LIVERMORE_STORMS` chooses: a number of seeds ("5") or seeds themselves ("3,17,40").
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import httpx
import pytest
import redis

from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.exchange_candles import matches_exchange
from livermore_dagster.ingest.context import open_context
from livermore_dagster.market.timeframe import Timeframe
from tests.conftest import database
from tests.e2e.comparison import alert_differences
from tests.e2e.platform_run import Place, Truth
from tests.integration.faults.conftest import EXCHANGES
from tests.integration.faults.stage import staged
from tests.integration.ingest.played import Platform, until

SEEDS = 50
STORM_S = 60.0
CALM_S = 60.0
"""Real seconds in which everything must be settled once the storm is over."""

pytestmark = pytest.mark.soak


def seeds() -> list[int]:
    wanted = os.environ.get("LIVERMORE_STORMS", str(SEEDS))
    return [int(one) for one in wanted.split(",") if one] if "," in wanted else list(range(int(wanted)))


async def audit(platform: Platform, exchange: str, start_ms: int, end_ms: int) -> None:
    """As the platform does every hour: REST itself may have been wrong for longer than anybody waits."""
    async with open_context(exchange, platform) as ctx:
        for timeframe in ctx.row.live_timeframes:
            if timeframe.ms <= Timeframe.M15.ms:
                cell = Cell(ctx, timeframe, platform.symbols(exchange), end_ms + timeframe.ms, by_hand=True)
                await matches_exchange(cell, start_ms - timeframe.ms)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("exchange", list(EXCHANGES))
@pytest.mark.parametrize("seed", seeds())
def test_after_a_storm_everything_is_as_it_must_be(
    valkey_url: str, postgres_url: str, tmp_path: Path, exchange: str, seed: int
) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    with database(postgres_url) as url, staged(valkey_url, url, exchange) as stage:
        platform = stage.platform
        begun = platform.market_now(exchange)
        door = platform.addresses[exchange]["control_url"]
        ordered = httpx.post(f"{door}/storm", json={"seed": seed, "duration_s": STORM_S}, timeout=30)
        assert ordered.status_code == 200, ordered.text
        refused: list[tuple[int, int]] = []

        def over() -> bool:
            given = stage.given()
            if given and (not refused or refused[-1][1] != given):
                refused.append((platform.market_now(exchange), given))
            return time.monotonic() >= calm

        calm = time.monotonic() + STORM_S
        until(over, STORM_S + 30, f"storm {seed} ends")
        step = max(timeframe.ms for timeframe in stage.timeframes() if timeframe.ms <= Timeframe.M15.ms)
        now = platform.market_now(exchange)
        target = now - now % step + step
        told = f"storm {seed} on {exchange}"
        until(lambda: platform.settled(exchange) >= target, CALM_S, f"{told}: settled to {target}")
        start = begun - begun % step
        asyncio.run(audit(platform, exchange, start, target))
        until(lambda: not stage.wrong(start, target), 30, lambda: f"{told}: {stage.wrong(start, target)[:8]}")
        place = Place(tmp_path, valkey_url, url)
        truth = Truth({exchange: door})
        symbols = platform.symbols(exchange)

        def alerts() -> list[str]:
            return alert_differences(place, truth, exchange, symbols, start, target)

        until(lambda: not alerts(), 30, lambda: f"{told}: {alerts()[:8]}")
        by_fault = sum(
            one["done"] for one in platform.ask(exchange, "faults") if one["kind"] in ("rate_limit", "ban")
        )
        assert stage.given() <= by_fault, f"{told}: 429 or 418 beyond those ordered, {refused}"
