"""Dagster's configuration: no address in the file, Celery's spelling of Redis, its own database."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from livermore_dagster.control.keeper import QUEUE_GRACE_MS
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.dagster_yaml import (
    celery_url,
    dagster_database_url,
    dagster_environment,
    write_dagster_yaml,
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("unix:///run/valkey.sock", "redis+socket:///run/valkey.sock?virtual_host=0"),
        ("unix:///run/valkey.sock?db=3", "redis+socket:///run/valkey.sock?virtual_host=3"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("rediss://user:secret@host:6379/1", "rediss://user:secret@host:6379/1"),
    ],
)
def test_celery_spelling(given: str, expected: str) -> None:
    assert celery_url(given) == expected


def test_own_database_on_the_same_server() -> None:
    assert (
        dagster_database_url("postgresql://me@/livermore?host=/run/pg")
        == "postgresql://me@/livermore_dagster?host=/run/pg"
    )


def test_the_file_holds_no_address(tmp_path: Path) -> None:
    folder = write_dagster_yaml(tmp_path)
    document = yaml.safe_load((folder / "dagster.yaml").read_text())
    assert document["storage"]["postgres"]["postgres_url"] == {"env": "LIVERMORE_DAGSTER_DATABASE_URL"}
    assert document["run_launcher"]["config"]["broker"] == {"env": "LIVERMORE_CELERY_URL"}
    assert document["run_launcher"]["config"]["config_source"] == {"result_expires": 0}
    assert document["telemetry"] == {"enabled": False}
    assert document["run_monitoring"]["start_timeout_seconds"] * 1_000 > QUEUE_GRACE_MS, "the keeper is first"
    assert document["sensors"] == {"use_threads": True, "num_workers": 8, "num_submit_workers": 6}


def test_environment_names_the_psycopg2_driver(tmp_path: Path) -> None:
    settings = Settings(tmp_path, "unix:///v", "postgresql://me@/livermore?host=/run/pg", "live")
    found = dagster_environment(settings)
    assert found["LIVERMORE_DAGSTER_DATABASE_URL"].startswith(
        "postgresql+psycopg2://me@/livermore_dagster?host="
    )
    assert found["DAGSTER_HOME"] == str(tmp_path / "dagster")
