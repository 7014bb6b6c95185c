"""Connections to PostgreSQL: encrypted over TCP, always (R5); plain only on a Unix socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from livermore_dagster.errors import BadSetting, PlatformError, SchemaDrift, TlsRequired

__all__ = ["Pool", "conninfo", "no_answer", "open_pool", "schema_differs", "sqlalchemy_url"]

Pool = AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]

STRONG_ENOUGH = ("require", "verify-ca", "verify-full")
CONNECT_TIMEOUT_S = 10
LIVELINESS: Final = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Over TCP (s; the last ms): a server whose machine is gone without a word is noticed within 30 s."""
RECONNECT_ROUND_S = 3.0
"""The pool doubles its waits within a round; a new round begins at once, so a server is found within 2 s."""


def conninfo(url: str, ca: Path | None) -> str:
    """The address as libpq shall use it, from a URL or a keyword string.

    A Unix socket stays as it is. Over TCP it gets sslmode=require, and verify-full when a CA file is given.
    Raises TlsRequired for an address that asks for less, BadSetting for one that cannot be read. Neither
    repeats the address: it may hold a password.
    """
    return make_conninfo("", **_parameters(url, ca))


def _parameters(url: str, ca: Path | None) -> dict[str, Any]:
    try:
        given: dict[str, Any] = dict(conninfo_to_dict(url))
    except psycopg.ProgrammingError:
        raise BadSetting(
            "The PostgreSQL address (LIVERMORE_DATABASE_URL) cannot be read.",
            "It looks like postgresql://user:password@host:5432/database.",
        ) from None
    if _is_unix_socket(given):
        return given
    mode = given.get("sslmode")
    if mode is not None and mode not in STRONG_ENOUGH:
        raise TlsRequired(
            f"The PostgreSQL address asks for sslmode={mode}.",
            "Connections over TCP are always encrypted: leave sslmode out, or give require, verify-ca or "
            "verify-full.",
        )
    if ca is not None:
        given["sslrootcert"] = str(ca)
    # A stated mode outranks PGSSLMODE, and a Kerberos ticket must not take the place of TLS.
    given["sslmode"] = "verify-full" if given.get("sslrootcert") else mode or "require"
    given["gssencmode"] = "disable"
    return {**LIVELINESS, **given}


def _is_unix_socket(given: dict[str, Any]) -> bool:
    """Whether every host named is a socket directory. Without any, the environment may name a TCP host."""
    hosts = str(given.get("host") or "").split(",")
    return not given.get("hostaddr") and all(host.startswith(("/", "@")) for host in hosts)


def sqlalchemy_url(url: str, ca: Path | None) -> str:
    """The same address under the same rule for Dagster's storage, by the psycopg2 driver.

    The driver is named because SQLAlchemy 2.1 reads a bare `postgresql://` as psycopg 3.
    """
    given = _parameters(url, ca)
    user = quote(str(given.pop("user", "") or ""), safe="")
    password = given.pop("password", None)
    database = quote(str(given.pop("dbname", "") or ""), safe="")
    host = str(given.pop("host", "") or "")
    port = given.pop("port", None)
    login = user if password is None else f"{user}:{quote(str(password), safe='')}"
    place = ""
    if host.startswith(("/", "@")) or "," in host:
        given = {"host": host, **given}
        if port is not None:
            given["port"] = port
    elif host:
        place = f"[{host}]" if ":" in host else host
        place += f":{port}" if port is not None else ""
    query = urlencode({key: str(value) for key, value in given.items()}, quote_via=quote, safe="/")
    return f"postgresql+psycopg2://{login}@{place}/{database}" + (f"?{query}" if query else "")


async def open_pool(
    url: str,
    ca: Path | None,
    *,
    min_size: int = 1,
    max_size: int = 4,
    name: str = "livermore",
    wait: bool = True,
) -> Pool:
    """An open pool of autocommit-off connections. Its connections are checked when taken.

    With `wait` one connection is tried first: PlatformError says why there is none. Without, the pool
    connects in the background, for services that outlive a PostgreSQL that is away.
    """
    address = conninfo(url, ca)
    options: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": name}
    if wait:
        try:
            connection = await AsyncConnection.connect(address, **options)
        except psycopg.OperationalError as error:
            raise no_answer(error) from None
        await connection.close()
    pool: Pool = AsyncConnectionPool(
        address,
        min_size=min_size,
        max_size=max_size,
        kwargs=options,
        name=name,
        open=False,
        timeout=CONNECT_TIMEOUT_S,
        reconnect_timeout=RECONNECT_ROUND_S,
        reconnect_failed=AsyncConnectionPool.check,
        check=AsyncConnectionPool.check_connection,
    )
    await pool.open(wait=False)
    return pool


def no_answer(error: psycopg.Error) -> PlatformError:
    """What people are told of a server that is away, or lets nobody in."""
    return PlatformError(
        f"PostgreSQL does not let us in: {_reason(error)}",
        "Is it running, and is LIVERMORE_DATABASE_URL right? See `livermore doctor`.",
    )


def schema_differs(error: psycopg.Error) -> SchemaDrift:
    """What people are told when a table or column of schema.sql is not there."""
    return SchemaDrift(
        f"The database is not what schema.sql says: {str(error).splitlines()[0]}.",
        "It was made by another version. Look at it with `livermore db check`, bring it in step with "
        "`livermore db apply`.",
    )


def _reason(error: psycopg.Error) -> str:
    """What the last attempt met: libpq repeats itself for every address of a name, then asks back."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.endswith("?")]
    return (told or lines or [type(error).__name__])[-1]
