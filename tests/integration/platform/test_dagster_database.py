"""Dagster's own database on a real PostgreSQL: made once, however many homes start at the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg

from livermore_dagster.platform.dagster_yaml import dagster_database_url, ensure_dagster_database


def test_homes_that_start_at_once_make_one_database(database_url: str) -> None:
    homes = 3
    together = Barrier(homes)

    def start() -> str:
        together.wait(60)
        return ensure_dagster_database(database_url)

    with ThreadPoolExecutor(homes) as pool:
        made = {one.result() for one in [pool.submit(start) for _ in range(homes)]}
    assert made == {dagster_database_url(database_url)}
    psycopg.connect(made.pop()).close()
