"""Debian's PostgreSQL with TLS: the embedded one is built without."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

__all__ = ["TlsServer", "tls_server_at"]


@dataclass(frozen=True)
class TlsServer:
    """A server that takes TLS connections only, from `address`'s networks, and its own CA."""

    address: str
    port: int
    ca: Path
    other_ca: Path
    folder: Path

    def url(self, database: str = "postgres", **options: str) -> str:
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://livermore:secret@{self.address}:{self.port}/{database}" + (
            f"?{query}" if query else ""
        )

    def socket_url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}&port={self.port}"


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def _certificates(folder: Path, address: str) -> None:
    for name in ("ca", "other"):
        _openssl(
            folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.crt",
        )  # fmt: skip
    _openssl(
        folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", "server.key",
        "-out", "server.csr",
    )  # fmt: skip
    (folder / "names").write_text(f"subjectAltName=IP:{address},DNS:localhost\n")
    _openssl(
        folder, "x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
        "-days", "2", "-extfile", "names", "-out", "server.crt",
    )  # fmt: skip


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _start(control: list[Any], address: str, as_user: dict[str, Any]) -> int:
    """The port it listens on: should another test take it between our look and the start, the next one."""
    for _ in range(5):
        port = _free_port(address)
        words = [*control, "-o", f"-p {port}", "start"]
        try:
            subprocess.run(words, stdout=subprocess.DEVNULL, **as_user)
        except subprocess.CalledProcessError:
            continue
        return port
    raise AssertionError(f"PostgreSQL with TLS does not start; see {control[-1]}")


@contextmanager
def tls_server_at(address: str = "127.0.0.1") -> Iterator[TlsServer]:
    """Up until the end of the block; `livermore` may make databases."""
    newest = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    as_root = os.geteuid() == 0
    user = "postgres" if as_root else pwd.getpwuid(os.geteuid()).pw_name
    # Not pytest's own folder: PostgreSQL's user may not pass through it.
    folder = Path(tempfile.mkdtemp(prefix="lv-tls-"))
    folder.chmod(0o755)
    _certificates(folder, address)
    data = folder / "data"
    as_user: dict[str, Any] = {"check": True}
    if as_root:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, user, user)
        as_user |= {"user": user, "group": pwd.getpwnam(user).pw_gid, "cwd": "/"}
    subprocess.run(
        [newest / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8",
         "--locale=C"],
        capture_output=True, **as_user,
    )  # fmt: skip
    (data / "pg_hba.conf").write_text(
        "local all all trust\nhostssl all all samenet scram-sha-256\nhostnossl all all all reject\n"
    )
    (folder / "server.key").chmod(0o600)
    settings = {
        "listen_addresses": address, "unix_socket_directories": str(folder),
        "ssl": "on", "ssl_cert_file": str(folder / "server.crt"), "ssl_key_file": str(folder / "server.key"),
        "fsync": "off",
    }  # fmt: skip
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    control = [newest / "pg_ctl", "-D", data, "-w", "-t", "120"]
    port = _start([*control, "-l", folder / "log"], address, as_user)
    try:
        server = TlsServer(address, port, folder / "ca.crt", folder / "other.crt", folder)
        with psycopg.connect(server.socket_url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE ROLE livermore LOGIN CREATEDB PASSWORD 'secret'")
        yield server
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], stdout=subprocess.DEVNULL, **as_user)
        shutil.rmtree(folder, ignore_errors=True)
