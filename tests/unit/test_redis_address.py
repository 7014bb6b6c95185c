"""A Redis whose machine is gone without a word is noticed, though no read has a timeout."""

from __future__ import annotations

import socket

import pytest
import redis

from livermore_dagster.stores.redis.client import connect_async


async def test_over_tcp_the_system_watches_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = connect_async(f"redis://127.0.0.1:{server.getsockname()[1]}/0")
        connection = client.connection_pool.make_connection()
        await connection._connect()  # the words after it would need a Redis
        own = connection._writer.get_extra_info("socket")
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        await connection.disconnect(nowait=True)
        await client.aclose()


async def test_a_unix_socket_needs_no_watching() -> None:
    client = connect_async("unix:///nowhere/redis.sock")
    with pytest.raises(redis.ConnectionError):
        await client.ping()
    await client.aclose()
