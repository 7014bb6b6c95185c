"""An exchange that cannot be used says why, with what to do: over real sockets, REST and stream."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import stamina
from aiohttp import web
from redis.asyncio import Redis

from livermore_dagster.clock import SystemClock
from livermore_dagster.errors import AccessBlocked, ExchangeError, ExchangeUnavailable, PlaceRefused
from livermore_dagster.exchanges.connection import ConnectionLost, classify, open_socket
from livermore_dagster.exchanges.contract import Priority
from livermore_dagster.exchanges.factory import client_for
from livermore_dagster.exchanges.http import HttpxPort, NoReply
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.stores.redis.client import connect_async

BINANCE = next(row for row in ROWS if row.name == "binance")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def stand_in(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def impatient() -> AsyncIterator[None]:
    """Two attempts, without the waits between."""
    stamina.set_testing(True, attempts=2)
    yield  # type: ignore[misc]
    stamina.set_testing(False)


async def told(redis: Redis, rest_url: str) -> ExchangeError:
    client = client_for(replace(BINANCE, rest_url=rest_url), redis, SystemClock())
    try:
        with pytest.raises(ExchangeError) as caught:
            await client.server_time(Priority.BROWSE)
        return caught.value
    finally:
        await client.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect_async(redis_url)
    yield client
    await client.aclose()


async def test_a_place_that_is_not_served_is_told_once_and_not_asked_again(redis: Redis) -> None:
    asked = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.json_response(
            {"code": 0, "msg": "Service unavailable from a restricted location"}, status=451
        )

    async with stand_in(answer) as url:
        error = await told(redis, url)
    assert isinstance(error, PlaceRefused)
    assert "does not serve this place (HTTP 451)" in error.message
    assert "US, CA, NL" in error.advice
    assert len(asked) == 1


async def test_a_guard_is_told_from_the_exchange(redis: Redis) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=403, text="<html>Request blocked</html>", content_type="text/html")

    async with stand_in(answer) as url:
        error = await told(redis, url)
    assert isinstance(error, AccessBlocked)
    assert "another network" in error.advice


async def test_a_port_where_nothing_listens_refuses(redis: Redis) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody else gets it meanwhile
        port = taken.getsockname()[1]
        error = await told(redis, f"http://127.0.0.1:{port}")
        with pytest.raises(ConnectionLost, match="refuses the connection"):
            await open_socket(f"ws://127.0.0.1:{port}")
    assert isinstance(error, ExchangeUnavailable)
    assert error.message == f"127.0.0.1:{port} refuses the connection."
    assert error.advice


async def test_a_name_that_is_not_resolved_means_no_network(redis: Redis) -> None:
    error = await told(redis, "https://no-such-exchange.invalid")
    assert error.message == "no-such-exchange.invalid cannot be found: its name is not resolved."
    assert "DNS" in error.advice


def self_signed(folder: Path) -> ssl.SSLContext:
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
         "-days", "2", "-subj", "/CN=localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


async def test_a_certificate_nobody_trusts_is_told_with_the_clock_and_the_proxy(
    redis: Redis, tmp_path: Path
) -> None:
    context = self_signed(tmp_path)

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"serverTime": 1})

    async with stand_in(answer, context) as url:
        error = await told(redis, url)
        assert "shows a certificate that is not trusted" in error.message
        assert "SSL_CERT_FILE" in error.advice
        with pytest.raises(ConnectionLost, match="not trusted") as lost:
            await open_socket(url.replace("https", "wss"))
    assert not lost.value.retryable


async def test_a_login_page_where_tls_should_be_is_told(redis: Redis) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>Please log in</html>", content_type="text/html")

    async with stand_in(answer) as url:
        error = await told(redis, url.replace("http://", "https://"))
    assert "No encrypted connection" in error.message


async def test_the_upgrade_is_refused_for_the_place() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=451)

    async with stand_in(answer) as url:
        with pytest.raises(ConnectionLost, match="451: it does not serve this place") as lost:
            await open_socket(url.replace("http", "ws"))
    assert not lost.value.retryable


async def test_a_reply_that_never_ends_is_given_up() -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        while True:
            await reply.write(b" " * (1 if request.path == "/slowly" else 1 << 20))
            await asyncio.sleep(0.01 if request.path == "/slowly" else 0)

    async with stand_in(drip) as url:
        port = HttpxPort(url, whole_s=0.5)
        with pytest.raises(NoReply, match=r"whole reply within 0\.5 s"):
            await port.call("GET", "/slowly")
        await port.close()
        port = HttpxPort(url)
        with pytest.raises(NoReply, match="more than 64 MiB"):
            await port.call("GET", "/endlessly")
        await port.close()


def test_a_fault_of_ours_is_no_trouble_of_the_exchange() -> None:
    with pytest.raises(KeyError):
        classify(KeyError("x"), "ws://x")
