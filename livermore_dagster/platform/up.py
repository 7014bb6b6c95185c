"""One run of `livermore up`, from the first check to the report."""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

from livermore_dagster.errors import LivermoreError, PlatformError
from livermore_dagster.platform.logging import configure, get_logger
from livermore_dagster.platform.options import UpOptions
from livermore_dagster.platform.report import Measure, drain
from livermore_dagster.platform.screen import LiveScreen, PlainLines, View
from livermore_dagster.platform.supervisor import TICK_S, Supervisor
from livermore_dagster.platform.watch import Watch

__all__ = ["run_up"]

ACTIVE_WITHIN_S = 900.0
"""A warm-up at an exchange's own pace takes minutes; what takes longer than this hangs."""
LOOK_S = 0.5
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_up(options: UpOptions) -> dict[str, Any] | None:
    """Run until stopped or until the time is up; the report when one was asked for.

    `--for` counts from when every autostarted exchange is active. Raises PlatformError when the platform
    could not be kept up.
    """
    view: View = LiveScreen() if sys.stdout.isatty() and not options.as_json else PlainLines()
    run = _Run(options, view)
    try:
        return run.whole()
    finally:
        view.close()


class _Run:
    def __init__(self, options: UpOptions, view: View) -> None:
        self._options = options
        self._view = view
        self._supervisor = Supervisor(options, self._tell)
        if isinstance(view, LiveScreen):
            view.supervisor = self._supervisor
        self._log: Any = None
        self._watch: Watch | None = None

    def _tell(self, line: str) -> None:
        self._view.tell(line)
        if self._log is not None:
            self._log.info(line)

    def whole(self) -> dict[str, Any] | None:
        supervisor = self._supervisor
        before = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        report: dict[str, Any] | None = None
        try:
            supervisor.check()
            configure(self._options.home, "up")
            self._log = get_logger(__name__)
            begun = time.monotonic()
            supervisor.start(self._view.refresh)
            self._tell(f"All up after {time.monotonic() - begun:.1f} s.")
            try:
                report = self._live()
            finally:
                if self._watch is not None:
                    self._watch.close()
                supervisor.stop(self._view.refresh)
        except LivermoreError as error:
            if self._log is not None:
                self._log.error(error.message, advice=error.advice)
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return report

    def _on_signal(self, number: int, frame: object) -> None:
        self._supervisor.request_stop()

    def _live(self) -> dict[str, Any] | None:
        supervisor = self._supervisor
        rows = [row for row in supervisor.rows if row.active]
        self._watch = Watch(supervisor.settings, rows)
        if isinstance(self._view, LiveScreen):
            self._view.watch = self._watch
        wanted = {row.name for row in self._options.autostart}
        started = [row for row in rows if row.name in wanted]
        measure = Measure(supervisor.settings, started, supervisor.started_wall)
        measure.begin()
        if self._options.run_for_s is None:
            self._until(None)
        else:
            self._until_active(wanted)
            if not supervisor.stopping:
                measure.window.begin(self._watch.market_time.now_ms())
            self._until(time.monotonic() + self._options.run_for_s)
            if not supervisor.stopping:
                self._tell("Time is up: waiting for what has closed to be stored.")
                drain(supervisor.settings, started, measure.window, self._tick)
        return measure.result(supervisor.errors) if self._options.as_json else None

    def _tick(self) -> None:
        self._supervisor.tick()
        self._view.refresh()

    def _until(self, deadline: float | None) -> None:
        while not self._supervisor.stopping and (deadline is None or time.monotonic() < deadline):
            self._tick()
            time.sleep(TICK_S)

    def _until_active(self, wanted: set[str]) -> None:
        deadline = time.monotonic() + ACTIVE_WITHIN_S
        looked = 0.0
        active: set[str] = set()
        while wanted - active and not self._supervisor.stopping and self._watch is not None:
            self._tick()
            if time.monotonic() - looked > LOOK_S:
                looked = time.monotonic()
                self._watch.refresh(alerts=0)
                now = {view.row.name for view in self._watch.exchanges if view.state == "active"}
                for name in sorted(now & wanted - active):
                    self._tell(f"{name} is active.")
                active |= now
            if time.monotonic() > deadline:
                raise PlatformError(
                    f"Not active within {ACTIVE_WITHIN_S:.0f} s: {', '.join(sorted(wanted - active))}.",
                    f"See {self._options.home}/logs/worker-ingest.log.",
                )
            time.sleep(TICK_S)
