"""R4 with a real Atlas: the newest that builds as a Go module, which knows PostgreSQL up to 15, Debian's."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from livermore_dagster.errors import ToolMissing
from livermore_dagster.platform import schema
from livermore_dagster.platform.atlas import Atlas, find_atlas
from livermore_dagster.stores.postgres.connect import conninfo
from tests.tls_server import TlsServer

pytestmark = pytest.mark.atlas
ROOT = Path(__file__).parents[3]


@pytest.fixture
def atlas_binary(monkeypatch: pytest.MonkeyPatch) -> Path:
    built = Path(os.environ.get("LIVERMORE_ATLAS", ROOT / ".tools" / "atlas"))
    monkeypatch.setenv("LIVERMORE_ATLAS", str(built))
    assert built.exists(), "make atlas-bin"
    return built


@pytest.fixture
def empty(tls_server: TlsServer) -> Iterator[str]:
    """A database of the TLS server that holds nothing."""
    name = f"t_{uuid.uuid4().hex[:10]}"
    with psycopg.connect(tls_server.socket_url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} OWNER livermore")
        with psycopg.connect(tls_server.socket_url(name), autocommit=True) as inside:
            inside.execute("ALTER SCHEMA public OWNER TO livermore")
        yield tls_server.url(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def changed_schema(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, old: str, new: str) -> None:
    text = schema.schema_file().read_text()
    assert old in text
    (tmp_path / "schema.sql").write_text(text.replace(old, new, 1))
    (tmp_path / "atlas.hcl").write_text((ROOT / "atlas.hcl").read_text())
    for module in ("schema", "atlas"):
        monkeypatch.setattr(
            f"livermore_dagster.platform.{module}.schema_file", lambda: tmp_path / "schema.sql"
        )


def test_atlas_makes_what_schema_sql_says(atlas_binary: Path, empty: str, tls_server: TlsServer) -> None:
    atlas = Atlas(conninfo(empty, tls_server.ca))
    assert "CREATE TABLE" in atlas.apply()
    assert atlas.plan() == ""
    assert atlas.apply() == ""
    with psycopg.connect(conninfo(empty, tls_server.ca)) as connection:
        assert schema.drift(connection) == []


def test_atlas_finds_nothing_to_do_after_up(atlas_binary: Path, empty: str) -> None:
    address = conninfo(empty, None)
    with psycopg.connect(address) as connection:
        schema.apply_to_empty(connection)
    assert Atlas(address).plan() == ""


def test_a_new_column_reaches_a_database_in_use(
    atlas_binary: Path, empty: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address = conninfo(empty, None)
    with psycopg.connect(address) as connection:
        schema.apply_to_empty(connection)
        connection.execute("INSERT INTO provenance (id, stamp) VALUES (1, 'live')")
    changed_schema(monkeypatch, tmp_path, "stamp text NOT NULL,", "stamp text NOT NULL,\n    note text NULL,")
    with psycopg.connect(address) as connection:
        assert schema.drift(connection) == ["column provenance.note is missing"]
    assert "ADD COLUMN" in Atlas(address).plan()
    Atlas(address).apply()
    with psycopg.connect(address) as connection:
        assert schema.drift(connection) == []
        assert connection.execute("SELECT stamp, note FROM provenance").fetchall() == [("live", None)]


def test_nothing_of_atlas_is_left_on_the_server(atlas_binary: Path, empty: str) -> None:
    Atlas(conninfo(empty, None)).plan()
    with psycopg.connect(conninfo(empty, None)) as connection:
        assert (
            connection.execute("SELECT datname FROM pg_database WHERE datname LIKE '%atlas%'").fetchall()
            == []
        )


def _livermore(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    base = {name: value for name, value in os.environ.items() if not name.startswith("LIVERMORE_")}
    return subprocess.run(
        [sys.executable, "-m", "livermore_dagster.cli.app", *arguments],
        env={**base, **environment}, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_the_commands(atlas_binary: Path, empty: str) -> None:
    place = {"LIVERMORE_DATABASE_URL": empty, "LIVERMORE_ATLAS": str(atlas_binary)}
    assert _livermore("db", "apply", **place).returncode == 0
    assert _livermore("db", "check", **place).returncode == 0
    with psycopg.connect(conninfo(empty, None)) as connection:
        connection.execute("ALTER TABLE candles DROP COLUMN trades")
    checked = _livermore("db", "check", **place)
    assert (checked.returncode, checked.stdout.strip()) == (1, "- column candles.trades is missing")
    asked = _livermore("db", "apply", **place)
    assert asked.returncode == 2
    assert "ADD COLUMN" in asked.stdout
    done = _livermore("db", "apply", "--yes", **place)
    assert done.returncode == 0, done.stderr
    assert _livermore("db", "check", **place).returncode == 0


def test_without_atlas_a_database_in_use_is_left_alone(empty: str) -> None:
    with psycopg.connect(conninfo(empty, None)) as connection:
        schema.apply_to_empty(connection)
        connection.execute("ALTER TABLE candles DROP COLUMN trades")
    done = _livermore("db", "apply", "--yes", LIVERMORE_DATABASE_URL=empty, PATH="/nonexistent")
    assert done.returncode == 1
    assert "Atlas is not installed" in done.stderr
    assert "installer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_variable_that_names_no_atlas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVERMORE_ATLAS", "/nonexistent/atlas")
    with pytest.raises(ToolMissing, match="/nonexistent/atlas"):
        find_atlas()


def test_an_old_atlas_on_a_new_server_is_explained(atlas_binary: Path, database_url: str) -> None:
    with pytest.raises(ToolMissing, match="too old for this PostgreSQL"):
        Atlas(conninfo(database_url, None)).plan()
