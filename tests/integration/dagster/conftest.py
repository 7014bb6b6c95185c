"""Dagster instances as the platform makes them, on the test's own servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from livermore_dagster.platform.dagster_yaml import celery_url, ensure_dagster_database
from livermore_dagster.stores.postgres.connect import sqlalchemy_url


@pytest.fixture
def platform_environment(redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """LIVERMORE_* as `up` sets them; a database address only where a test uses `database_url` too."""
    monkeypatch.setenv("LIVERMORE_HOME", str(tmp_path))
    monkeypatch.setenv("LIVERMORE_REDIS_URL", redis_url)
    monkeypatch.setenv("LIVERMORE_DATABASE_URL", "postgresql://nobody@/none?host=/nowhere")
    monkeypatch.setenv("LIVERMORE_PROVENANCE", "sim:7")
    return redis_url


@pytest.fixture
def launcher_instance(platform_environment: str) -> Iterator[dg.DagsterInstance]:
    """An instance with our run launcher, on the test's Valkey."""
    address = celery_url(platform_environment)
    launcher = {
        "module": "livermore_dagster.platform.run_launcher",
        "class": "LivermoreRunLauncher",
        "config": {"broker": address, "backend": address, "default_queue": "batch"},
    }
    with dg.instance_for_test(overrides={"run_launcher": launcher}) as instance:
        yield instance


@pytest.fixture
def stored_instance(
    platform_environment: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """An instance whose storage is PostgreSQL, in Dagster's own database beside ours."""
    monkeypatch.setenv("LIVERMORE_DATABASE_URL", database_url)
    address = sqlalchemy_url(ensure_dagster_database(database_url), None)
    with dg.instance_for_test(overrides={"storage": {"postgres": {"postgres_url": address}}}) as instance:
        yield instance
