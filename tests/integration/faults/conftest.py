"""One service at a time, kept while tests of its exchange follow one another: faults strike it in turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis

from tests.conftest import database
from tests.integration.faults.stage import Stage, staged

EXCHANGES = {
    name: pytest.mark.xdist_group(f"faults-{name}") for name in ("binance", "binance_us", "coinbase")
}


class Stages:
    """`at` gives the running stage of an exchange, after ending that of another."""

    def __init__(self, valkey_url: str, postgres_url: str) -> None:
        self._valkey_url = valkey_url
        self._postgres_url = postgres_url
        self._open = ExitStack()
        self._stage: Stage | None = None

    def at(self, exchange: str) -> Stage:
        if self._stage is None or self._stage.exchange != exchange:
            self.close()
            with redis.Redis.from_url(self._valkey_url) as client:
                client.flushall()
            url = self._open.enter_context(database(self._postgres_url))
            self._stage = self._open.enter_context(staged(self._valkey_url, url, exchange))
        return self._stage

    def close(self) -> None:
        self._stage = None
        self._open.close()


@pytest.fixture(scope="module")
def stages(valkey_url: str, postgres_url: str) -> Iterator[Stages]:
    made = Stages(valkey_url, postgres_url)
    yield made
    made.close()
