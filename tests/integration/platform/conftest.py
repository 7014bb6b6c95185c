"""Debian's PostgreSQL with TLS: the embedded one is built without."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest


@dataclass(frozen=True)
class TlsServer:
    """A server on 127.0.0.1 that takes TLS connections only, and its own CA."""

    port: int
    ca: Path
    other_ca: Path
    folder: Path

    def url(self, database: str = "postgres", **options: str) -> str:
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://livermore:secret@127.0.0.1:{self.port}/{database}" + (
            f"?{query}" if query else ""
        )

    def socket_url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}&port={self.port}"


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def _certificates(folder: Path) -> None:
    for name in ("ca", "other"):
        _openssl(
            folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.crt",
        )  # fmt: skip
    _openssl(
        folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", "server.key",
        "-out", "server.csr",
    )  # fmt: skip
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    _openssl(
        folder, "x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
        "-days", "2", "-extfile", "names", "-out", "server.crt",
    )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def tls_server() -> Iterator[TlsServer]:
    newest = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    # Not pytest's own folder: PostgreSQL's user may not pass through it.
    folder = Path(tempfile.mkdtemp(prefix="lv-tls-"))
    folder.chmod(0o755)
    _certificates(folder)
    port = _free_port()
    data = folder / "data"
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, user, user)
    as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "cwd": "/", "check": True}
    if os.geteuid() != 0:
        as_user = {"check": True}
    subprocess.run(
        [newest / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync"],
        capture_output=True, **as_user,
    )  # fmt: skip
    (data / "pg_hba.conf").write_text(
        "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\nhostnossl all all all reject\n"
    )
    (folder / "server.key").chmod(0o600)
    settings = {
        "listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": str(folder),
        "ssl": "on", "ssl_cert_file": str(folder / "server.crt"), "ssl_key_file": str(folder / "server.key"),
        "fsync": "off",
    }  # fmt: skip
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    control = [newest / "pg_ctl", "-D", data, "-w"]
    subprocess.run([*control, "-l", folder / "log", "start"], stdout=subprocess.DEVNULL, **as_user)
    server = TlsServer(port, folder / "ca.crt", folder / "other.crt", folder)
    with psycopg.connect(server.socket_url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE livermore LOGIN CREATEDB PASSWORD 'secret'")
    yield server
    subprocess.run([*control, "-m", "immediate", "stop"], stdout=subprocess.DEVNULL, **as_user)
    shutil.rmtree(folder, ignore_errors=True)
