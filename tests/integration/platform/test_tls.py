"""R5 against a real server with TLS."""

from __future__ import annotations

import psycopg
import pytest

from livermore_dagster.errors import TlsRequired
from livermore_dagster.stores.postgres.connect import conninfo, open_pool, sqlalchemy_url
from tests.tls_server import TlsServer

pytestmark = pytest.mark.tls


def _encrypted(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    return bool(row and row[0])


def test_tcp_is_encrypted_without_being_asked(tls_server: TlsServer) -> None:
    with psycopg.connect(conninfo(tls_server.url(), None)) as connection:
        assert _encrypted(connection)


def test_with_a_ca_the_server_is_verified(tls_server: TlsServer) -> None:
    with psycopg.connect(conninfo(tls_server.url(), tls_server.ca)) as connection:
        assert _encrypted(connection)


def test_another_ca_is_refused(tls_server: TlsServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(conninfo(tls_server.url(), tls_server.other_ca))


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_a_weaker_mode_is_refused_before_connecting(tls_server: TlsServer, mode: str) -> None:
    with pytest.raises(TlsRequired):
        conninfo(tls_server.url(sslmode=mode), None)


def _set_tls(tls_server: TlsServer, value: str) -> None:
    with psycopg.connect(tls_server.socket_url("postgres"), autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET ssl = {value}".encode())
        connection.execute("SELECT pg_reload_conf()")
    for _ in range(200):
        # A new connection is served by what the server knows by then.
        with psycopg.connect(tls_server.socket_url("postgres")) as connection:
            if connection.execute("SHOW ssl").fetchone() == (value,):
                return
    raise AssertionError("the server did not reload")


def test_a_server_without_tls_is_refused(tls_server: TlsServer) -> None:
    _set_tls(tls_server, "off")
    try:
        with pytest.raises(psycopg.OperationalError, match="server does not support SSL"):
            psycopg.connect(conninfo(tls_server.url(), None))
    finally:
        _set_tls(tls_server, "on")


async def test_the_pool_is_encrypted(tls_server: TlsServer) -> None:
    pool = await open_pool(tls_server.url(), tls_server.ca)
    async with pool, pool.connection() as connection:
        cursor = await connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert await cursor.fetchone() == (True,)


def test_dagsters_storage_address_keeps_the_rule(tls_server: TlsServer) -> None:
    from sqlalchemy import create_engine, text

    engine = create_engine(sqlalchemy_url(tls_server.url(), tls_server.ca))
    with engine.connect() as connection:
        query = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert connection.execute(query).scalar() is True
    engine.dispose()
