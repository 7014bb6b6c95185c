"""Dagster's own database on a real PostgreSQL: made once, however many homes start at the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from sqlalchemy import create_engine, text

from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.dagster_yaml import (
    DAGSTER_DATABASE_URL,
    dagster_database_url,
    dagster_environment,
    ensure_dagster_database,
)


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


def test_runs_are_stamped_in_utc_whatever_the_zone_of_the_server(
    redis_url: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their age decides what waits for them, and which are given up."""
    settings = Settings(redis_url=redis_url, database_url=database_url, home=tmp_path, provenance="live")
    address = ensure_dagster_database(settings.database_url)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET timezone = 'America/New_York'")
    environment = dagster_environment(settings)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    engine = create_engine(environment[DAGSTER_DATABASE_URL])
    with engine.connect() as connection:
        stamped, utc = connection.execute(
            text("SELECT CURRENT_TIMESTAMP::timestamp, CURRENT_TIMESTAMP AT TIME ZONE 'UTC'")
        ).one()
    engine.dispose()
    assert stamped == utc
