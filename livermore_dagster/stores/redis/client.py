"""Connections to the one Redis or Valkey primary everything meets in."""

from __future__ import annotations

import socket
from typing import Any, Final

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from livermore_dagster.errors import BadSetting, ClusterRefused, PlatformError

__all__ = [
    "connect",
    "connect_async",
    "no_answer",
    "refuse_cluster",
    "refuse_cluster_info",
    "unreadable",
]

CONNECT_TIMEOUT_S = 5.0
ANSWER_S: Final = 3.0
"""A server that is stopped takes connections, and never answers."""

_LIVELINESS: Final = {
    "TCP_KEEPIDLE": 15,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 30_000,
}
"""Of tcp(7) (s; the last ms): a server whose machine is gone without a word is noticed within 30 s."""


def _options(url: str, max_connections: int, answer_s: float | None) -> dict[str, Any]:
    """Without `retry`, which `connect` and `connect_async` add in their own kind."""
    return {
        **({} if url.startswith("unix:") else _watched()),
        "decode_responses": True,
        # Always given: redis-py's default of 5 s would cut every longer blocking read.
        "socket_timeout": answer_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "max_connections": max_connections,
        # One shape of replies, whatever the server offers.
        "protocol": 2,
    }


def _watched() -> dict[str, Any]:
    """For reads that wait for hours: no timeout ends them, so the system must notice a dead peer."""
    known = {getattr(socket, name): value for name, value in _LIVELINESS.items() if hasattr(socket, name)}
    return {"socket_keepalive": True, "socket_keepalive_options": known}


def connect(
    url: str,
    max_connections: int = 64,
    *,
    encoding_errors: str = "strict",
    waits_for_news: bool = False,
) -> redis.Redis:
    """A sync client, tried at once. `encoding_errors`, of `bytes.decode`: for replies that are no UTF-8.
    A reply may take ANSWER_S; with `waits_for_news`, for blocking reads and channels, as long as it likes.

    Raises BadSetting for an address that cannot be read, PlatformError when no server answers and
    ClusterRefused for a Redis Cluster.
    """
    try:
        client = redis.Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            encoding_errors=encoding_errors,
            **_options(url, max_connections, None if waits_for_news else ANSWER_S),
        )
    except ValueError:
        raise unreadable() from None
    try:
        info = client.info("cluster")
    except (RedisError, OSError) as error:
        client.close()
        raise no_answer(error) from error
    try:
        refuse_cluster_info(info)
    except ClusterRefused:
        client.close()
        raise
    return client


def unreadable() -> BadSetting:
    """Without the parser's words: they repeat a part of the address, which may be its password."""
    return BadSetting(
        "The Redis address (LIVERMORE_REDIS_URL) cannot be read.",
        "It looks like redis://:password@host:6379/0 (rediss:// with TLS), or unix:///path/to/socket. What a "
        "password has of : / ? # @ is written with %, as in a URL.",
    )


def no_answer(error: RedisError | OSError) -> PlatformError:
    """What people are told of a server that is away."""
    return PlatformError(
        f"Redis does not answer: {str(error).rstrip('.')}.",
        "Is it running, and is LIVERMORE_REDIS_URL right? See `livermore doctor`.",
    )


def connect_async(url: str, max_connections: int = 256) -> redis.asyncio.Redis:
    """An async client; it connects with its first command. Call `refuse_cluster` at a service's start.

    Nothing is tried twice behind the caller's back: a repeated XREADGROUP would skip the entries of the reply
    that was lost, and a repeated count would count twice.
    """
    try:
        return redis.asyncio.Redis.from_url(
            url, retry=AsyncRetry(NoBackoff(), 0), **_options(url, max_connections, None)
        )
    except ValueError:
        raise unreadable() from None


async def refuse_cluster(client: redis.asyncio.Redis) -> None:
    """Raises ClusterRefused when the server is part of a Redis Cluster."""
    refuse_cluster_info(await client.info("cluster"))


def refuse_cluster_info(info: dict[str, Any]) -> None:
    """The same judgement on the reply of INFO cluster."""
    if int(info.get("cluster_enabled", 0)):
        raise ClusterRefused(
            "This is a Redis Cluster.",
            "A candle and its close are written in one Lua call over several keys, which a cluster splits "
            "across nodes: give Livermore one primary.",
        )
