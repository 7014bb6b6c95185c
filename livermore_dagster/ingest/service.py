"""The live service of one exchange, for callers that are not async: a Dagster op, a command, a test."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Final

import structlog

from livermore_dagster.clock import Clock, SystemClock
from livermore_dagster.control.states import InstanceState
from livermore_dagster.errors import PlatformError
from livermore_dagster.ingest.context import Servers
from livermore_dagster.ingest.instance import PATIENCE_S, Instance
from livermore_dagster.ingest.patience import Patience

__all__ = ["IngestService"]

log = structlog.get_logger(__name__)

_LOOK_S: Final = 0.1
_START_S: Final = PATIENCE_S + 20.0


class IngestService:
    """Owns one event loop in a thread of its own, so that the caller's thread can be interrupted at any time.

    `start` returns once the claim is held, `wait` when the service has ended; `error` is what ended it, None
    after a clean stop. It ends by itself when the desired state says stopped and when its claim is lost.
    """

    def __init__(
        self,
        servers: Servers,
        exchange: str,
        *,
        provenance: str,
        run_id: str | None = None,
        token: str | None = None,
        clock: Clock | None = None,
        patience: Patience | None = None,
    ) -> None:
        """`servers`: where Redis and PostgreSQL are (Settings is one). `run_id`: the Dagster run, if any.

        `token`: of the claim that a standby has taken for it.
        """
        self.exchange = exchange
        self.error: BaseException | None = None
        self.state = InstanceState.IDLE
        self._servers = servers
        self._provenance = provenance
        self._run_id = run_id
        self._token = token
        self._clock = clock or SystemClock()
        self._patience = patience or Patience()
        self._claimed = threading.Event()
        self._ended = threading.Event()
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._instance: Instance | None = None
        self._stop_asked = False
        self._thread = threading.Thread(target=self._run, name=f"ingest-{exchange}", daemon=True)

    def start(self, timeout: float = _START_S, asked: threading.Event | None = None) -> None:
        """Raises what prevented the start: ClaimConflict, UnknownExchange, ProvenanceMismatch …

        `asked`: set when it shall end; it may wait for an overdue holder's claim for most of a minute.
        """
        self._thread.start()
        deadline = time.monotonic() + timeout
        while not self._claimed.wait(_LOOK_S):
            if asked is not None and asked.is_set():
                self.stop(0.0, "the process was told to end")
            if time.monotonic() >= deadline:
                self.stop()
                raise PlatformError(f"{self.exchange} could not claim its exchange within {timeout:.0f} s.")
        if self.error is not None:
            raise self.error

    def wait(self, timeout: float | None = None) -> bool:
        """Whether the service has ended, after waiting for that up to `timeout` seconds."""
        return self._ended.wait(timeout)

    def wait_for_state(self, state: InstanceState, timeout: float) -> bool:
        """Whether `state` was reached within `timeout` seconds (False at once when the service ended)."""
        with self._changed:
            self._changed.wait_for(lambda: self.state is state or self._ended.is_set(), timeout)
            return self.state is state

    def stop(self, timeout: float = 3.0, reason: str = "stopped") -> bool:
        """Asks for a clean stop and waits for it; whether it came within `timeout` seconds."""
        with self._changed:
            self._stop_asked = True
            if self._loop is not None and self._instance is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._instance.request_stop, reason)
        if not self._thread.is_alive():
            return True
        return self._ended.wait(timeout)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self.error = error
            log.error("ingest_ended", exchange=self.exchange, error=str(error) or type(error).__name__)
            if not isinstance(error, Exception):
                raise
        finally:
            with self._changed:
                self._ended.set()
                self._claimed.set()
                self._changed.notify_all()

    async def _main(self) -> None:
        instance = Instance(
            self._servers,
            self.exchange,
            provenance=self._provenance,
            run_id=self._run_id,
            token=self._token,
            clock=self._clock,
            patience=self._patience,
            on_claimed=self._claimed.set,
            on_state=self._note_state,
        )
        with self._changed:
            self._loop, self._instance = asyncio.get_running_loop(), instance
            if self._stop_asked:
                instance.request_stop("stopped")
        await instance.run()

    def _note_state(self, state: InstanceState) -> None:
        with self._changed:
            self.state = state
            self._changed.notify_all()
