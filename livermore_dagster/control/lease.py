"""A task that one of several processes does at a time: held by a lease that runs out unless it is renewed."""

from __future__ import annotations

import os
import socket
from typing import Any

import msgspec
import redis

from livermore_dagster.control.process import machine_id, process_is_gone, process_start
from livermore_dagster.control.scripts import control_script

__all__ = ["Lease", "LeaseHolder", "own_identity", "read_holder"]


class LeaseHolder(msgspec.Struct, frozen=True, rename="camel"):
    """Who holds it. `since`: epoch ms."""

    token: str
    hostname: str
    home: str
    machine_id: str
    pid: int
    pid_start_time: str
    since: int

    @property
    def gone(self) -> bool:
        """Certain death only: a process of this machine that is no more."""
        return process_is_gone(self.machine_id, self.pid, self.pid_start_time)

    @property
    def place(self) -> str:
        return f"{self.hostname}, home {self.home.partition(':')[2]}"

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()


def own_identity(token: str, home: str, now_ms: int) -> LeaseHolder:
    """This process. `home`: as `control.process.home_name` says it in the home's processes."""
    return LeaseHolder(
        token=token,
        hostname=socket.gethostname(),
        home=home,
        machine_id=machine_id(),
        pid=os.getpid(),
        pid_start_time=process_start(),
        since=now_ms,
    )


def read_holder(client: redis.Redis, key: str) -> LeaseHolder | None:
    text = client.get(key)
    return msgspec.json.decode(str(text), type=LeaseHolder) if text else None


class Lease:
    """Call `hold` well within each `ttl_ms`; what it answers is true for that long."""

    def __init__(self, client: redis.Redis, key: str, holder: LeaseHolder, ttl_ms: int) -> None:
        self._redis = client
        self._key = key
        self._holder = holder
        self._ttl_ms = ttl_ms

    def hold(self) -> bool:
        """Renews it, or takes one that is free or whose holder is certainly dead; whether it is ours."""
        if self._eval("renew_lease", self._holder.token) == 1:
            return True
        if self._redis.set(self._key, self._holder.encode(), nx=True, px=self._ttl_ms):
            return True
        other = read_holder(self._redis, self._key)
        if other is None or not other.gone:
            return False
        return self._eval("replace_lease", other.token) == 1

    def release(self) -> None:
        """Gives it up if it is ours."""
        self._redis.eval(
            control_script("replace_lease"), 1, self._key, self._holder.token, self._holder.encode(), ""
        )

    def _eval(self, script: str, token: str) -> int:
        answer: Any = self._redis.eval(
            control_script(script), 1, self._key, token, self._holder.encode(), str(self._ttl_ms)
        )
        return int(answer)
