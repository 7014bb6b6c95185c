"""What assets and sensors work with. Nothing is opened, read or asked before a run or tick uses it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg
import redis
from pydantic import PrivateAttr

from livermore_dagster.errors import LivermoreError
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest.context import ExchangeContext, open_context
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.dagster_yaml import BOUNDARY_QUEUE
from livermore_dagster.stores.postgres.user_exchanges import parse_account_key
from livermore_dagster.stores.redis.client import connect

if TYPE_CHECKING:
    from livermore_dagster.ingest.service import IngestService
    from livermore_dagster.trades.session import AccountSession, StoredAccount

__all__ = [
    "ACCOUNTS",
    "AUDIT_CHECK",
    "AUDIT_JOB",
    "BOUNDARY_TAG",
    "DUE_TAG",
    "EXCHANGES",
    "RAISED_TAG",
    "SYMBOLS",
    "SYMBOLS_REASON_TAG",
    "SYMBOL_CHECKS",
    "AccountResource",
    "ExchangeResource",
    "IngestResource",
    "PlatformResource",
    "check_key",
    "sensor_status",
    "symbol_check_keys",
]

T = TypeVar("T")

EXCHANGES = dg.StaticPartitionsDefinition([row.name for row in ROWS])
"""One partition per exchange, for every asset and for the ingest job: Dagster refuses two kinds in one
job."""

ACCOUNTS = dg.DynamicPartitionsDefinition(name="accounts")
"""One partition per account (user and exchange), such as coinbase.3; added when the account is."""

BOUNDARY_TAG = "livermore/boundary_ms"
"""Run tag: the boundary the run brings its assets up to."""
DUE_TAG = "livermore/due"
RAISED_TAG = "livermore/raised_ms"
"""Run tag: wall clock at which the boundary's event was appended."""

AUDIT_JOB = "audit"
AUDIT_CHECK = "matches_exchange"
"""The one check that asks the exchange, hourly and in runs of its own."""

SYMBOLS_REASON_TAG = "livermore/symbols_reason"
"""Run tag: why the product list is looked at (a kind of symbol event)."""

QUICK_PATIENCE_S = 5.0
"""How long a run in the boundaries' queue waits for another reader of its account: the sensor asks again."""
PATIENCE_S = 600.0
"""… and any other run: whoever reads a whole history needs minutes."""

STOP_S = 3.0
"""An interrupted ingest run gives its service this long to close and release its claim."""


def sensor_status() -> dg.DefaultSensorStatus:
    """Running only under `livermore up`, so that `dagster dev` beside it starts no second keeper."""
    under_up = os.environ.get("LIVERMORE_UP") == "1"
    return dg.DefaultSensorStatus.RUNNING if under_up else dg.DefaultSensorStatus.STOPPED


def check_key(layer: str, timeframe: Timeframe, name: str, exchange: str) -> dg.AssetCheckKey:
    """A check's results are kept per asset, not per partition: hence one name per exchange."""
    return dg.AssetCheckKey(dg.AssetKey([layer, timeframe.value]), f"{name}_{exchange}")


SYMBOLS = dg.AssetKey(["symbols"])
SYMBOL_CHECKS = ("not_empty", "one_product_per_base", "monitored_are_listed")


def symbol_check_keys(exchange: str) -> list[dg.AssetCheckKey]:
    """The checks of an exchange's product list."""
    return [dg.AssetCheckKey(SYMBOLS, f"{name}_{exchange}") for name in SYMBOL_CHECKS]


@lru_cache(maxsize=4)
def _client(url: str) -> redis.Redis:
    return connect(url, waits_for_news=True)


class PlatformResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the running platform is, found when used: by LIVERMORE_* variables, else by what `up` wrote."""

    def settings(self) -> Settings:
        return Settings.discover()

    def redis(self) -> redis.Redis:
        """One client per process, kept over ticks."""
        return _client(self.settings().redis_url)


class ExchangeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Exchanges opened once per run and shared by its steps: REST client under the budget, cache, tables."""

    _runner: asyncio.Runner | None = PrivateAttr(default=None)
    _stack: AsyncExitStack | None = PrivateAttr(default=None)
    _open: dict[str, ExchangeContext] = PrivateAttr(default_factory=dict)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[ExchangeResource]:
        with asyncio.Runner() as runner:
            self._runner, self._stack, self._open = runner, AsyncExitStack(), {}
            try:
                yield self
            finally:
                runner.run(self._stack.aclose())
                self._runner, self._stack = None, None

    def use(self, exchange: str, work: Callable[[ExchangeContext], Awaitable[T]]) -> T:
        """Run `work` on the exchange's context.

        What Livermore refuses (unknown or inactive exchange, no server, a rate limit) becomes a dg.Failure
        whose text is the error's own.
        """
        if self._runner is None:
            raise dg.DagsterInvariantViolationError("ExchangeResource is used outside of a run.")
        try:
            return self._runner.run(self._use(exchange, work))
        except LivermoreError as error:
            raise dg.Failure(str(error)) from error

    async def _use(self, exchange: str, work: Callable[[ExchangeContext], Awaitable[T]]) -> T:
        if exchange not in self._open:
            assert self._stack is not None  # noqa: S101 - set with the runner
            opened = await self._stack.enter_async_context(open_context(exchange, Settings.discover()))
            self._open[exchange] = opened
        return await work(self._open[exchange])


class AccountResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """One account, opened once per run and alone at it, and what is stored of it."""

    _patience_s: float = PrivateAttr(default=PATIENCE_S)
    _runner: asyncio.Runner | None = PrivateAttr(default=None)
    _stack: AsyncExitStack | None = PrivateAttr(default=None)
    _open: dict[str, Any] = PrivateAttr(default_factory=dict)
    _stored: dict[str, Any] = PrivateAttr(default_factory=dict)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[AccountResource]:
        quick = context.run is not None and context.run.tags.get("dagster-celery/queue") == BOUNDARY_QUEUE
        self._patience_s = QUICK_PATIENCE_S if quick else PATIENCE_S
        with asyncio.Runner() as runner:
            self._runner, self._stack, self._open, self._stored = runner, AsyncExitStack(), {}, {}
            try:
                yield self
            finally:
                runner.run(self._stack.aclose())
                self._runner, self._stack = None, None

    def read(self, key: str, work: Callable[[AccountSession], Awaitable[T]]) -> T:
        """Run `work` on the account, which asks the exchange; another reader of it is waited for, though not
        for long where boundaries wait behind this run.

        What Livermore refuses becomes a dg.Failure whose text is the error's own; it never shows a secret.
        """

        from livermore_dagster.trades.session import open_account  # signing is no part of other runs

        async def run() -> T:
            opened = partial(open_account, patience_s=self._patience_s)
            return await work(await self._entered(self._open, key, opened))

        return self._run(run)

    def stored(self, key: str, work: Callable[[StoredAccount], Awaitable[T]]) -> T:
        """Run `work` on what is stored of the account; nothing is asked of its exchange."""

        from livermore_dagster.trades.session import open_stored

        async def run() -> T:
            return await work(await self._entered(self._stored, key, open_stored))

        return self._run(run)

    async def _entered(self, held: dict[str, Any], key: str, open_one: Callable[..., Any]) -> Any:
        if key not in held:
            exchange, account_id = parse_account_key(key)
            assert self._stack is not None  # noqa: S101 - set with the runner
            opened = open_one(account_id, exchange, Settings.discover())
            held[key] = await self._stack.enter_async_context(opened)
        return held[key]

    def _run(self, run: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self._runner is None:
            raise dg.DagsterInvariantViolationError("AccountResource is used outside of a run.")
        try:
            return self._runner.run(run())
        except LivermoreError as error:
            raise dg.Failure(str(error)) from error


class IngestResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The long-running one: an exchange's connections, claim and consumers, alive as long as its run."""

    @contextmanager
    def serving(self, exchange: str, run_id: str) -> Iterator[IngestService]:
        """The exchange's service, claimed and running; stopped cleanly however the block is left.

        Raises what prevented the start: ClaimConflict, UnknownExchange, InactiveExchange,
        ProvenanceMismatch …
        """
        from livermore_dagster.ingest.service import IngestService  # only ingest runs need its weight

        settings = Settings.discover()
        service = IngestService(settings, exchange, provenance=settings.provenance, run_id=run_id)
        try:
            service.start()
            yield service
        finally:
            service.stop(STOP_S)
