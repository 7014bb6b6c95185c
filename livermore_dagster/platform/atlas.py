"""Atlas, the one tool that changes a database that already holds something (R4)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from livermore_dagster.errors import PlatformError, ToolMissing
from livermore_dagster.platform.schema import schema_file

__all__ = ["Atlas", "find_atlas"]

INSTALL = (
    "Install Atlas with its own installer (its community edition is enough; see 'Getting started' in its "
    "documentation), or name the binary in LIVERMORE_ATLAS."
)
_QUERY = ("host", "sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout")
TIMEOUT_S = 300


def find_atlas() -> Path | None:
    """The Atlas binary: LIVERMORE_ATLAS, else `atlas` on the PATH. ToolMissing if the variable names none."""
    stated = os.environ.get("LIVERMORE_ATLAS")
    if stated:
        if not os.access(stated, os.X_OK):
            raise ToolMissing(f"LIVERMORE_ATLAS names {stated!r}, which cannot be run.", INSTALL)
        return Path(stated)
    found = shutil.which("atlas")
    return Path(found) if found else None


class Atlas:
    """Atlas on one database. `conninfo` is a libpq connection string with TLS already decided (R5)."""

    def __init__(self, conninfo: str, binary: Path | None = None) -> None:
        chosen = binary or find_atlas()
        if chosen is None:
            raise ToolMissing("Atlas is not installed, and nothing else changes a database in use.", INSTALL)
        self.binary = chosen
        self._conninfo = conninfo

    def plan(self) -> str:
        """The statements that would bring the database in step with schema.sql; '' when there are none."""
        text = self._run("--dry-run")
        return "" if _in_step(text) else text

    def apply(self) -> str:
        """Bring the database in step; what Atlas did, '' when there was nothing to do."""
        text = self._run("--auto-approve")
        return "" if _in_step(text) else text

    def _run(self, *options: str) -> str:
        with self._dev_database() as dev:
            command = [str(self.binary), "schema", "apply", "--env", "livermore", "-c", "file://atlas.hcl"]
            done = subprocess.run(
                [*command, *options],
                # Addresses may hold a password: they travel by the environment, not on the command line.
                env={**os.environ, "LIVERMORE_ATLAS_URL": self._url(), "LIVERMORE_ATLAS_DEV_URL": dev}
                | {"ATLAS_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1"},
                cwd=schema_file().parent,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            if "unexpected number of rows" in said:
                raise ToolMissing(
                    f"This Atlas is too old for this PostgreSQL: {said}.",
                    "Releases before 0.14 know PostgreSQL up to 15. " + INSTALL,
                )
            raise PlatformError(f"Atlas refused: {said}.", "The database was left as it was.")
        return done.stdout.strip()

    @contextmanager
    def _dev_database(self) -> Iterator[str]:
        """An empty database on the same server, in which Atlas plays schema.sql through; dropped after."""
        name = f"{conninfo_to_dict(self._conninfo).get('dbname', 'livermore')}_atlas_dev_{os.getpid()}"
        identifier = sql.Identifier(name)
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            try:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
            except psycopg.errors.InsufficientPrivilege:
                raise PlatformError(
                    "The database user may not create the empty database that Atlas plans in.",
                    f"Let an administrator run: ALTER ROLE {connection.info.user} CREATEDB;",
                ) from None
            try:
                yield self._url(name)
            finally:
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))

    def _url(self, database: str | None = None) -> str:
        """The address as Atlas' driver reads it."""
        facts = {name: str(value) for name, value in conninfo_to_dict(self._conninfo).items()}
        host = facts.get("host", "")
        socket = host.startswith("/")
        query = {name: facts[name] for name in _QUERY if name in facts and (name != "host" or socket)}
        if socket:
            query["sslmode"] = "disable"  # a Unix socket is never encrypted, and the driver refuses to try
        query["search_path"] = "public"
        user = quote(facts.get("user", ""), safe="")
        if "password" in facts:
            user += ":" + quote(facts["password"], safe="")
        place = "" if socket else host + (f":{facts['port']}" if "port" in facts else "")
        if socket and "port" in facts:
            query["port"] = facts["port"]
        name = quote(database or facts.get("dbname", ""), safe="")
        return f"postgres://{user}@{place}/{name}?{urlencode(query)}"


def _in_step(text: str) -> bool:
    return not text or "no changes to be made" in text
