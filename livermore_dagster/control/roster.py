"""Who is there: members that count for as long as they say so, in the order in which they came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import redis

from livermore_dagster.control.scripts import control_script

__all__ = ["Member", "Roster"]


class Member(NamedTuple):
    """`left_ms`: until it counts no more unless it is heard of again."""

    token: str
    text: str
    left_ms: int


class Roster:
    """One key with a TTL for each member, and an index. No key of it is ever without a TTL."""

    def __init__(self, client: redis.Redis, index: str, key: Callable[[str], str], ttl_ms: int) -> None:
        self._redis = client
        self._index = index
        self._key = key
        self._ttl_ms = ttl_ms

    def attend(self, token: str, text: str, since_ms: int) -> None:
        """The member is there, for another TTL. `since_ms`: when it came, epoch ms; the first word counts."""
        self._redis.eval(
            control_script("attend"),
            2,
            self._key(token),
            self._index,
            token,
            text,
            str(self._ttl_ms),
            since_ms,
        )

    def leave(self, token: str) -> None:
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(self._key(token))
            pipe.zrem(self._index, token)
            pipe.execute()

    def members(self) -> list[Member]:
        """Those that count now, the first to come first."""
        tokens = cast("list[str]", self._redis.zrange(self._index, 0, -1))
        with self._redis.pipeline(transaction=True) as pipe:
            for token in tokens:
                pipe.get(self._key(token))
                pipe.pttl(self._key(token))
            found: list[Any] = pipe.execute()
        return [
            Member(token, found[2 * place], found[2 * place + 1])
            for place, token in enumerate(tokens)
            if found[2 * place] is not None
        ]
