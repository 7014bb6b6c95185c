"""The request budget of one exchange and credential, shared in Redis by all processes (R3, P13)."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Protocol, cast

import redis
import redis.asyncio
import stamina
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import TimeoutError as RedisSlow

from livermore_dagster.clock import Clock
from livermore_dagster.errors import RateLimited
from livermore_dagster.exchanges.contract import BudgetFeedback, BudgetRule, Priority
from livermore_dagster.stores.redis import keys

__all__ = [
    "Budget",
    "BudgetLedger",
    "BudgetState",
    "Permit",
    "RateBudget",
    "Settlement",
    "closed_for_ms",
    "closed_for_ms_sync",
]

# Place in the queue = arrival + penalty: who is more urgent overtakes, who has waited longest still comes.
_PENALTY_MS = 60_000
_CLASS = {priority: place for place, priority in enumerate(Priority)}
# A waiter that stopped asking for so long (its process died) no longer holds up the queue.
_WAITER_TTL_MS = 2_000
# A permit that nobody gave back (its process died): the request cannot arrive later than this.
_LIFETIME_MS = 12_000
_RULE_VALID_MS = 7 * 24 * 3_600_000
# Longer closures are reported at once rather than waited for.
_LONGEST_CLOSURE_WAIT_MS = 60_000
_NO_FEEDBACK = BudgetFeedback()
_EDGES = 0.05


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave for one request; give it back with the reply's feedback."""

    ticket: str
    weight: int

    @property
    def member(self) -> str:
        return f"{self.ticket}|{self.weight}"


@dataclass(frozen=True, slots=True)
class BudgetState:
    """What is spent and allowed now, in weight; `closed_ms` is how long the budget stays shut."""

    used: int
    capacity: int
    window_ms: int
    closed_ms: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a reply taught: for how many ms the budget is closed, and what others had spent of `capacity`."""

    closed_ms: int = 0
    foreign: int = 0
    capacity: int = 0
    window_ms: int = 0

    def tells_others(self, took_ms: float) -> bool:
        """Whether `foreign` shows that somebody else asks too, by a reply that took so long.

        A few are the edges of our window and the exchange's; some were ours and have left our window since
        the exchange counted them, more of them the longer the reply took.
        """
        ours = _EDGES + (took_ms / self.window_ms if self.window_ms else 0.0)
        return self.foreign > self.capacity * ours


class Budget(Protocol):
    """What ExchangeClient takes from before a request leaves."""

    async def take(self, weight: int, priority: Priority) -> Permit: ...
    async def feedback(
        self, feedback: BudgetFeedback, permit: Permit | None = None, *, on_its_way_ms: int = 0
    ) -> Settlement: ...
    async def set_rule(self, rule: BudgetRule) -> None: ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """Granted, or to be repeated after `wait_ms`."""

    granted: bool
    wait_ms: int = 0
    closed: bool = False


class BudgetLedger:
    """The atomic book in Redis. `now_ms` None means the Redis server's clock, one for all processes.

    Every command may be repeated, so a Redis that restarts is waited for, `patience_s` at most.
    """

    patience_s = 20.0

    def __init__(
        self, redis: redis.asyncio.Redis, exchange_id: int, rule: BudgetRule, credential: str = "public"
    ) -> None:
        base = keys.budget(exchange_id, credential)
        self._keys = [base, f"{base}:active", f"{base}:waiting", f"{base}:alive"]
        self._rule = rule
        source = resources.files(__package__).joinpath("budget.lua").read_text(encoding="utf-8")
        self._script = redis.register_script(source)

    async def _run(self, command: str, now_ms: int | None, *arguments: int | str) -> Any:
        now = -1 if now_ms is None else now_ms
        return await self._call([command, now, *arguments])

    async def _call(self, arguments: list[int | str]) -> Any:
        async for attempt in stamina.retry_context(
            on=(RedisGone, RedisSlow),
            attempts=None,
            timeout=self.patience_s,
            wait_initial=0.05,
            wait_max=0.5,
            wait_jitter=0.1,
        ):
            with attempt:
                return await cast("Awaitable[Any]", self._script(keys=self._keys, args=arguments))
        raise AssertionError("the retry loop either returns or raises")

    async def attempt(
        self, ticket: str, weight: int, priority: Priority, now_ms: int | None = None
    ) -> Attempt:
        """Queue `ticket` if it is new, and grant it when its turn and room have come.

        Raises ValueError for a weight above the whole capacity.
        """
        place = _CLASS[priority]
        verdict, wait_ms, closed = await self._run(
            "take", now_ms, ticket, weight, place * _PENALTY_MS, _LIFETIME_MS,
            self._rule.capacity, self._rule.window_ms, place, _WAITER_TTL_MS,
        )  # fmt: skip
        if verdict < 0:
            raise ValueError(f"a request of weight {weight} exceeds the whole budget of {wait_ms}")
        return Attempt(verdict == 1, int(wait_ms), bool(closed))

    async def settle(
        self,
        permit: Permit | None,
        feedback: BudgetFeedback,
        *,
        on_its_way_ms: int = 0,
        now_ms: int | None = None,
    ) -> Settlement:
        """Start the permit's window; correct the budget."""
        reply = await self._run(
            "settle", now_ms, permit.member if permit else "", on_its_way_ms,
            -1 if feedback.used is None else feedback.used,
            -1 if feedback.remaining is None else feedback.remaining,
            -1 if feedback.retry_after_ms is None else feedback.retry_after_ms,
            self._rule.capacity, self._rule.window_ms, int(feedback.guessed),
            int(feedback.admitted),
        )  # fmt: skip
        return Settlement(*(int(value) for value in reply))

    async def withdraw(self, ticket: str) -> None:
        """Leave the queue."""
        await self._call(["withdraw", ticket])

    async def set_rule(self, rule: BudgetRule, now_ms: int | None = None) -> None:
        await self._run("rule", now_ms, rule.capacity, rule.window_ms, _RULE_VALID_MS)

    async def state(self, now_ms: int | None = None) -> BudgetState:
        reply = await self._run("state", now_ms, self._rule.capacity, self._rule.window_ms)
        return BudgetState(*(int(value) for value in reply))


def closed_for_ms_sync(client: redis.Redis, exchange_id: int, now_ms: int) -> int:
    """For how long no request leaves, for status and health. `now_ms`: the Redis server's clock."""
    return _left_ms(client.hget(keys.budget(exchange_id), "closed_until"), now_ms)


async def closed_for_ms(client: redis.asyncio.Redis, exchange_id: int) -> int:
    """For how long no request leaves, by the Redis server's clock."""
    until = await cast("Any", client.hget(keys.budget(exchange_id), "closed_until"))
    seconds, micros = await client.time()
    return _left_ms(until, int(seconds) * 1000 + int(micros) // 1000)


def _left_ms(closed_until: Any, now_ms: int) -> int:
    return max(0, int(float(closed_until or 0)) - now_ms)


@dataclass(order=True, slots=True)
class _Waiter:
    place: float
    number: int
    ticket: str = field(compare=False)
    weight: int = field(compare=False)
    priority: Priority = field(compare=False)
    granted: asyncio.Future[Permit] = field(compare=False)


class RateBudget:
    """`take` waits for its turn; `feedback` gives the permit back with what the reply said.

    One process asks Redis for one waiter at a time, its most urgent, and has at most `in_flight` requests
    out, so that urgent ones never stand behind a crowd on the connections.
    """

    def __init__(
        self,
        redis: redis.asyncio.Redis,
        exchange_id: int,
        rule: BudgetRule,
        clock: Clock,
        credential: str = "public",
        *,
        in_flight: int = 16,
    ) -> None:
        self.ledger = BudgetLedger(redis, exchange_id, rule, credential)
        self._clock = clock
        self._in_flight = in_flight
        self._out: set[str] = set()
        self._waiters: list[_Waiter] = []
        self._numbers = itertools.count()
        self._changed = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    async def take(self, weight: int, priority: Priority) -> Permit:
        """Wait until `weight` may be spent.

        Raises RateLimited when the exchange has closed the budget for more than a minute, ValueError when
        the weight exceeds the whole capacity.
        """
        place = self._clock.monotonic() * 1000 + _CLASS[priority] * _PENALTY_MS
        granted: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(place, next(self._numbers), uuid.uuid4().hex, weight, priority, granted)
        heapq.heappush(self._waiters, waiter)
        self._changed.set()
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._serve(), name="rate-budget")
        try:
            return await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                # Granted in the same turn of the loop as the cancellation: nothing was sent.
                self._out.discard(waiter.ticket)
            self._changed.set()
            raise

    async def feedback(
        self, feedback: BudgetFeedback, permit: Permit | None = None, *, on_its_way_ms: int = 0
    ) -> Settlement:
        """Correct the budget by a reply, and let the permit's window run out.

        `on_its_way_ms`: no reply came, and the request may still reach the exchange for so long.
        """
        if permit is not None:
            self._out.discard(permit.ticket)
            self._changed.set()
        return await self.ledger.settle(permit, feedback, on_its_way_ms=on_its_way_ms)

    async def set_rule(self, rule: BudgetRule) -> None:
        """What may be spent, for all processes, for a week: the limit the exchange stated less our margin."""
        await self.ledger.set_rule(rule)

    async def state(self) -> BudgetState:
        return await self.ledger.state()

    async def _serve(self) -> None:
        """Ask for the most urgent waiter until none is left."""
        try:
            while self._waiters:
                self._changed.clear()
                waiter = self._waiters[0]
                if waiter.granted.done():
                    heapq.heappop(self._waiters)
                    await self.ledger.withdraw(waiter.ticket)
                    continue
                if len(self._out) >= self._in_flight:
                    await self._changed.wait()
                    continue
                await self._ask(waiter)
        except BaseException as error:
            # Whoever waits must learn that nobody serves any more (Redis gone, loop closing).
            for waiter in self._waiters:
                if not waiter.granted.done():
                    if isinstance(error, Exception):
                        waiter.granted.set_exception(error)
                    else:
                        waiter.granted.cancel()
            self._waiters.clear()
            if not isinstance(error, Exception):
                raise

    async def _ask(self, waiter: _Waiter) -> None:
        try:
            attempt = await self.ledger.attempt(waiter.ticket, waiter.weight, waiter.priority)
        except ValueError as error:
            self._leave(waiter)
            if not waiter.granted.done():
                waiter.granted.set_exception(error)
            return
        if attempt.granted:
            self._leave(waiter)
            permit = Permit(waiter.ticket, waiter.weight)
            if waiter.granted.done():
                await self.ledger.settle(permit, _NO_FEEDBACK)
            else:
                self._out.add(waiter.ticket)
                waiter.granted.set_result(permit)
        elif attempt.closed and attempt.wait_ms > _LONGEST_CLOSURE_WAIT_MS:
            self._leave(waiter)
            await self.ledger.withdraw(waiter.ticket)
            if not waiter.granted.done():
                waiter.granted.set_exception(self._closed(attempt.wait_ms))
        else:
            await self._pause(attempt.wait_ms / 1000)

    def _leave(self, waiter: _Waiter) -> None:
        """A more urgent waiter may have come meanwhile, so it need not be the first of the heap."""
        self._waiters.remove(waiter)
        heapq.heapify(self._waiters)

    def _closed(self, wait_ms: int) -> RateLimited:
        return RateLimited(
            f"The exchange has closed the request budget for another {wait_ms // 1000} s.",
            self._clock.now_ms() + wait_ms,
        )

    async def _pause(self, seconds: float) -> None:
        """Until the time is over, a more urgent waiter comes, or a permit returns."""
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        change = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({sleep, change}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleep, change):
                task.cancel()
