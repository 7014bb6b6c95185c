"""Random storms of faults: whatever their order, candles and alerts are those of calm weather.

`LIVERMORE_STORMS` chooses: a number of seeds ("5") or seeds themselves ("3,17,40"). Seeds go round the
exchanges; `LIVERMORE_STORM_EXCHANGES` ("coinbase") has each played on these instead. With
`LIVERMORE_STORM_RECORD` a line of JSON about each storm is added to that file. `pytest -n 6` plays six at
once.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import redis

from tests.conftest import database
from tests.integration.faults.conftest import EXCHANGES
from tests.integration.faults.storm import play, record

SEEDS = 50

pytestmark = pytest.mark.soak


def storms() -> list[tuple[str, int]]:
    wanted = os.environ.get("LIVERMORE_STORMS", str(SEEDS))
    seeds = [int(one) for one in wanted.split(",") if one] if "," in wanted else list(range(int(wanted)))
    chosen = [one for one in os.environ.get("LIVERMORE_STORM_EXCHANGES", "").split(",") if one]
    if chosen:
        return [(exchange, seed) for seed in seeds for exchange in chosen]
    names = list(EXCHANGES)
    return [(names[seed % len(names)], seed) for seed in seeds]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("exchange", "seed"), storms())
def test_after_a_storm_everything_is_as_it_must_be(
    valkey_url: str, postgres_url: str, tmp_path: Path, exchange: str, seed: int
) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    with database(postgres_url) as url:
        told = play(valkey_url, url, tmp_path, exchange, seed)
    record(told)
    assert not told.troubles, "\n".join([f"storm {seed} on {exchange}", *told.troubles])
