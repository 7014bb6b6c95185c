"""A Valkey and a PostgreSQL of one test, as `livermore up` runs them: to be killed and begun again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from livermore_dagster.platform.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.conftest import ROOT
from tests.integration.ingest.played import until

__all__ = ["Servers", "own_servers"]


class Servers:
    """Both on Unix sockets, acknowledging nothing that a kill -9 would lose."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._valkey = EmbeddedValkey(home / "valkey", home / "v")
        self._postgres = EmbeddedPostgres(home / "postgres" / "data", home / "p")
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def redis_url(self) -> str:
        return self._valkey.url

    @property
    def database_url(self) -> str:
        return self._postgres.url

    def start(self, name: str) -> None:
        """Returns once it answers."""
        server, user = (self._valkey, None) if name == "valkey" else (self._postgres, self._postgres.os_user)
        server.prepare()
        self._running[name] = subprocess.Popen(
            server.command(), user=user, group=user, cwd="/",
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(server.ready, 30, f"{name} answers")

    def kill(self, name: str) -> None:
        """With every process of its own: PostgreSQL's would hold its memory for a moment longer."""
        head = psutil.Process(self._running[name].pid)
        family = [head, *head.children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._running[name].wait(10)
        psutil.wait_procs(family, 10)

    def end(self) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGINT)
        for process in self._running.values():
            process.wait(20)


@contextmanager
def own_servers() -> Iterator[Servers]:
    """Both running, the schema applied."""
    # Short, for the sockets; to be passed through by PostgreSQL's own OS user.
    home = Path(tempfile.mkdtemp(prefix="lv-own-"))
    home.chmod(0o755)
    servers = Servers(home)
    try:
        servers.start("valkey")
        servers.start("postgresql")
        servers._postgres.ensure_database()
        with psycopg.connect(servers.database_url, autocommit=True) as connection:
            connection.execute((ROOT / "schema.sql").read_text())
        yield servers
    finally:
        servers.end()
        shutil.rmtree(home, ignore_errors=True)
