"""Sends the requests of one exchange and credential: under its budget, signed where they must be, retried.

Every call takes from the budget before it leaves and gives the reply's headers back to it. Network errors,
5xx and bodies that are not the protocol's are tried again, bounded and jittered; 429 and 418 never are.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar
from urllib.parse import urlencode

import redis.asyncio
import stamina
import structlog

from livermore_dagster.clock import Clock
from livermore_dagster.errors import (
    AccessBlocked,
    ExchangeUnavailable,
    PlaceRefused,
    RateLimited,
    RequestRefused,
)
from livermore_dagster.exchanges.account_contract import SignedRequest
from livermore_dagster.exchanges.budget import Budget, Permit, Settlement
from livermore_dagster.exchanges.contract import BudgetFeedback, Priority, Request
from livermore_dagster.exchanges.http import HttpPort, HttpReply, NoReply
from livermore_dagster.exchanges.trouble import blocked, place_refused
from livermore_dagster.incidents import IncidentName
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.stores.redis import metrics

__all__ = ["Replies", "RestCaller", "Sign"]

log = structlog.get_logger(__name__)

ATTEMPTS = 4
RETRY_FOR_S = 45.0
_TELL_EVERY_S = 30.0
# Seconds since the exchange made a reply that comes from a cache (RFC 9111: the header Age).
_OLDEST_S = 1
# A cancelled request has left already, or never will.
CANCELLED_MS = 1_000

_REFUSED_FOR_RATE = (418, 429)

T = TypeVar("T")
Sign = Callable[[Request], SignedRequest]


class Replies(Protocol):
    """What a dialect knows of any reply."""

    def feedback(self, status: int, headers: Mapping[str, str], body: bytes) -> BudgetFeedback: ...
    def error_code(self, status: int, body: bytes) -> str: ...


class RestCaller:
    def __init__(
        self,
        row: ExchangeRow,
        dialect: Replies,
        http: HttpPort,
        budget: Budget,
        redis: redis.asyncio.Redis,
        clock: Clock,
    ) -> None:
        self.budget = budget
        self._row = row
        self._dialect = dialect
        self._http = http
        self._redis = redis
        self._clock = clock
        self._told: dict[IncidentName, float] = {}

    async def ask(
        self, request: Request, priority: Priority, parse: Callable[[bytes], T], sign: Sign | None = None
    ) -> T:
        """One call with its retries; every attempt takes from the budget and is signed anew.

        Raises RateLimited (429, 418, or a budget closed for long), RequestRefused (another 4xx) or
        ExchangeUnavailable (after the retries).
        """
        try:
            async for attempt in stamina.retry_context(
                on=ExchangeUnavailable,
                attempts=ATTEMPTS,
                timeout=RETRY_FOR_S,
                wait_initial=0.25,
                wait_max=4.0,
                wait_jitter=0.5,
            ):
                with attempt:
                    if attempt.num > 1:
                        await metrics.count(self._redis, self._row.id, "rest_retries")
                    reply = await self._send(request, priority, sign)
                    return parse(reply.body)
        except ExchangeUnavailable as error:
            await self._tell_unavailable(error)
            raise
        raise AssertionError("the retry loop either returns or raises")

    async def close(self) -> None:
        """Close the connections; the budget stays, it is everyone's."""
        await self._http.close()

    async def _send(self, request: Request, priority: Priority, sign: Sign | None) -> HttpReply:
        permit = await self.budget.take(request.weight, priority)
        feedback, left_at = BudgetFeedback(), self._clock.monotonic()
        on_its_way_ms = CANCELLED_MS
        try:
            reply = await self._leave(request, sign)
            on_its_way_ms = 0
            feedback = dataclasses.replace(
                self._dialect.feedback(reply.status, reply.headers, reply.body), admitted=_admitted(reply)
            )
        except NoReply as error:
            on_its_way_ms = error.on_its_way_ms
            raise
        finally:
            # Shielded: a cancelled caller must not leave its request uncounted.
            settled = await asyncio.shield(self._settle(request, feedback, permit, on_its_way_ms, left_at))
        if reply.status in _REFUSED_FOR_RATE:
            closed_ms = max(feedback.retry_after_ms or 0, settled.closed_ms)
            await self._refused_for_rate(request, reply, closed_ms)
        if reply.status == 451:
            trouble = place_refused(self._row)
            raise PlaceRefused(trouble.text, trouble.advice)
        if reply.status == 403 and _is_html(reply):
            trouble = blocked(self._row)
            raise AccessBlocked(trouble.text, trouble.advice)
        if reply.status >= 500 or (reply.status >= 300 and _is_html(reply)):
            raise ExchangeUnavailable(f"{self._row.name} answered {reply.status} to {request.path}.")
        if reply.status >= 300:
            code = self._dialect.error_code(reply.status, reply.body)
            raise RequestRefused(
                f"{self._row.name} refused {request.path} with {reply.status}: {code or 'no reason given'}.",
                reply.status,
                code,
            )
        age = reply.headers.get("age", "")
        if age.isdigit() and int(age) > _OLDEST_S:
            # A candle that was open then would pass for closed now.
            await metrics.count(self._redis, self._row.id, "rest_stale")
            raise ExchangeUnavailable(f"{self._row.name} answered {request.path} from a cache {age} s old.")
        return reply

    async def _leave(self, request: Request, sign: Sign | None) -> HttpReply:
        """Signed only now, when the wait for the budget is over: a signature has a time and ages."""
        if sign is None:
            return await self._http.call(request.method, request.path, urlencode(request.params))
        signed = sign(request)
        return await self._http.call(request.method, signed.path, signed.query, signed.headers)

    async def _settle(
        self, request: Request, feedback: BudgetFeedback, permit: Permit, on_its_way_ms: int, left_at: float
    ) -> Settlement:
        settled = await self.budget.feedback(feedback, permit, on_its_way_ms=on_its_way_ms)
        # Only now: before it left, the round trip would have kept its place in the budget longer.
        await metrics.count(self._redis, self._row.id, f"rest_requests:{request.endpoint}")
        if not settled.tells_others((self._clock.monotonic() - left_at) * 1000):
            return settled
        await metrics.count(self._redis, self._row.id, "foreign_weight", settled.foreign)
        text = (
            f"{self._row.name}: others on this address used {settled.foreign} of its request limit "
            f"({settled.capacity} are ours to use); requests wait for what is left."
        )
        await self._tell(IncidentName.FOREIGN_WEIGHT, text)
        return settled

    async def _tell_unavailable(self, error: ExchangeUnavailable) -> None:
        await metrics.count(self._redis, self._row.id, "rest_failures")
        text = f"{self._row.name}'s REST API cannot be used: {error.message}"
        await self._tell(IncidentName.REST_UNAVAILABLE, text)

    async def _tell(self, name: IncidentName, text: str) -> None:
        """Logged always, told as an incident once in a while: requests fail by the dozen."""
        log.warning(name.value, exchange=self._row.name, text=text)
        now = self._clock.monotonic()
        if now - self._told.get(name, -_TELL_EVERY_S) >= _TELL_EVERY_S:
            self._told[name] = now
            await metrics.incident(self._redis, name, self._row.id, text)

    async def _refused_for_rate(self, request: Request, reply: HttpReply, wait_ms: int) -> None:
        """Counted, written down, raised: the budget is closed for all processes by now."""
        text = f"{self._row.name} answered {reply.status} to {request.path}: budget closed for {wait_ms} ms."
        log.error("refused_for_rate", exchange=self._row.name, text=text)
        await metrics.count(self._redis, self._row.id, f"http_{reply.status}")
        name = IncidentName.HTTP_429 if reply.status == 429 else IncidentName.HTTP_418
        await metrics.incident(
            self._redis, name, self._row.id, text, endpoint=request.endpoint, retry_after_ms=wait_ms
        )
        raise RateLimited(text, self._clock.now_ms() + wait_ms, reply.status)


def _admitted(reply: HttpReply) -> bool:
    """The exchange itself answered; a failing server or the edge's page says nothing of its limits."""
    return reply.status < 500 and reply.status not in _REFUSED_FOR_RATE and not _is_html(reply)


def _is_html(reply: HttpReply) -> bool:
    return "html" in reply.headers.get("content-type", "") or reply.body.lstrip()[:1] == b"<"
