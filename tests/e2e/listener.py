"""Hears every alert of a platform whose Valkey may be killed meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import redis

from livermore_dagster.errors import NotRunning
from livermore_dagster.platform.config import Settings
from livermore_dagster.stores.redis import keys
from tests.e2e.comparison import IDS

__all__ = ["Listener"]

LATE_MS = 1_000
"""When an alert was published is noted a little later."""


class Listener:
    """Every alert heard on the exchanges' channels; subscribes anew whenever Valkey went away."""

    def __init__(self, home: Path, exchanges: Sequence[str]) -> None:
        self.heard: dict[int, list[int]] = defaultdict(list)
        """Attempts by alert id, in the order they came."""
        self._home = home
        self._channels = [keys.channel_alerts(IDS[name]) for name in exchanges]
        self._heard_until = _now_ms()
        self._deaf: list[tuple[int, int]] = []
        """From when to when, epoch ms, it was not subscribed."""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._thread.start()

    def was_deaf(self, published_ms: int | None) -> bool:
        """Whether it could not hear what was published then: Valkey had come back before it had."""
        return published_ms is not None and any(
            begun <= published_ms <= ended + LATE_MS for begun, ended in self._deaf
        )

    def close(self) -> None:
        self._end.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._end.is_set():
            with suppress(NotRunning, redis.RedisError):
                self._listen(Settings.discover(self._home).redis_url)
            self._end.wait(0.005)

    def _listen(self, url: str) -> None:
        with redis.Redis.from_url(url, decode_responses=True, socket_timeout=None) as client:
            pubsub = client.pubsub(ignore_subscribe_messages=True)
            pubsub.subscribe(*self._channels)
            for _ in self._channels:
                pubsub.get_message(timeout=60)  # the server's word on each
            self._deaf.append((self._heard_until, _now_ms()))
            while not self._end.is_set():
                message = pubsub.get_message(timeout=0.2)
                self._heard_until = _now_ms()
                if message is not None:
                    alert = json.loads(message["data"])
                    self.heard[int(alert["id"])].append(int(alert["attempt"]))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
