"""One run of each exchange for all its scenarios: faults strike one service in turn, tests read what came."""

from __future__ import annotations

import pytest
import redis

from tests.conftest import database
from tests.integration.faults.playing import Findings, play
from tests.integration.faults.scenarios import EXCHANGES, Scenario, acts_of
from tests.integration.faults.stage import BRISK, staged

__all__ = ["EXCHANGES", "Runs"]


class Runs:
    """`of` gives what a run of an exchange found; only chosen scenarios strike."""

    def __init__(self, valkey_url: str, postgres_url: str, chosen: set[tuple[str, str]]) -> None:
        self._valkey_url = valkey_url
        self._postgres_url = postgres_url
        self._chosen = chosen
        self._found: dict[str, Findings | str] = {}

    def of(self, exchange: str) -> Findings:
        if exchange not in self._found:
            self._found[exchange] = f"the run of {exchange} failed; see the first of its scenarios"
            self._found[exchange] = self._play(exchange)
        found = self._found[exchange]
        assert isinstance(found, Findings), found
        return found

    def _play(self, exchange: str) -> Findings:
        acts = [[one for one in act if (exchange, one.name) in self._chosen] for act in acts_of(exchange)]
        with redis.Redis.from_url(self._valkey_url) as client:
            client.flushall()
        with (
            database(self._postgres_url) as url,
            staged(self._valkey_url, url, exchange, pace=BRISK) as stage,
        ):
            return play(stage, [act for act in acts if act])


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, valkey_url: str, postgres_url: str) -> Runs:
    chosen: set[tuple[str, str]] = set()
    for item in request.session.items:
        given = (
            item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        )
        scenario = given.get("scenario")
        if isinstance(scenario, Scenario):
            chosen.add((str(given["exchange"]), scenario.name))
    return Runs(valkey_url, postgres_url, chosen)
