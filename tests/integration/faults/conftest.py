"""One service for each exchange and module: the faults of a module strike it one after another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.conftest import database
from tests.integration.faults.stage import Stage, staged

EXCHANGES = [pytest.param(name, marks=pytest.mark.xdist_group(f"faults-{name}")) for name in
             ("binance", "binance_us", "coinbase")]  # fmt: skip


@pytest.fixture(scope="module", params=EXCHANGES)
def stage(request: pytest.FixtureRequest, valkey_url: str, postgres_url: str) -> Iterator[Stage]:
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    with database(postgres_url) as database_url, staged(valkey_url, database_url, request.param) as made:
        yield made
