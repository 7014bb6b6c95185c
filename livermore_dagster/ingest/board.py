"""What people see of the instance: states, facts and troubles, written off the hot path."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio
import structlog

from livermore_dagster.control.claim import Claim
from livermore_dagster.control.states import InstanceState
from livermore_dagster.errors import ClaimLost
from livermore_dagster.incidents import IncidentName
from livermore_dagster.stores.redis import metrics

__all__ = ["StatusBoard"]

log = structlog.get_logger(__name__)

_KEPT = 500


@dataclass(frozen=True, slots=True)
class _Trouble:
    name: IncidentName
    text: str
    error: bool
    """Also an error of the instance: in its status and network log."""


class StatusBoard:
    """`facts` and `trouble` never wait; `run` writes what they were told."""

    def __init__(self, claim: Claim, client: redis.asyncio.Redis, exchange_id: int) -> None:
        self._claim = claim
        self._redis = client
        self._exchange_id = exchange_id
        self._facts: dict[str, Any] = {}
        self._troubles: deque[_Trouble] = deque(maxlen=_KEPT)
        self._something = asyncio.Event()

    @property
    def state(self) -> InstanceState:
        return self._claim.state

    @property
    def token(self) -> str:
        """Of the claim: what is written under it is refused once it is another's."""
        return self._claim.status.token

    def facts(self, **facts: Any) -> None:
        """Public facts of the status key (symbol_count, paused, connected_at …)."""
        self._facts.update(facts)
        self._something.set()

    def trouble(self, name: IncidentName, text: str, *, error: bool = False) -> None:
        """An incident; with `error` one that the status and the network log show too."""
        log.warning("trouble", name=name.value, text=text)
        self._troubles.append(_Trouble(name, text, error))
        self._something.set()

    async def advance(self, state: InstanceState, message: str = "") -> None:
        """Goes to `state`. While Redis is away the heartbeat tells it later. Raises ClaimLost."""
        try:
            await asyncio.to_thread(self._claim.advance, state, message)
        except redis.RedisError as error:
            log.warning("state_untold", state=state, error=str(error))
        log.info("state", state=state, message=message)

    async def error(self, text: str) -> None:
        """Records an error at once, as far as Redis lets us. Raises ClaimLost."""
        try:
            await asyncio.to_thread(self._claim.record_error, text)
        except redis.RedisError as error:
            log.warning("error_untold", text=text, error=str(error))

    async def run(self) -> None:
        """Until cancelled, or the claim is lost: then nothing of this instance is to be told any more."""
        while True:
            await self._something.wait()
            self._something.clear()
            try:
                await self._tell()
            except ClaimLost:
                return
            finally:
                if self._facts or self._troubles:
                    self._something.set()

    async def _tell(self) -> None:
        while self._troubles:
            # A full queue drops its head when another comes while this one is on its way.
            trouble = self._troubles[0]
            await metrics.incident(self._redis, trouble.name, self._exchange_id, trouble.text)
            if trouble.error:
                await asyncio.to_thread(self._claim.record_error, trouble.text)
            if self._troubles and self._troubles[0] is trouble:
                self._troubles.popleft()
        if self._facts:
            facts, self._facts = self._facts, {}
            await asyncio.to_thread(self._claim.update, **facts)
