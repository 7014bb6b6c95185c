"""One run of `livermore up`, from the first check to the report."""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

from livermore_dagster.errors import LivermoreError, PlatformError, UsageError
from livermore_dagster.platform.logging import configure, get_logger
from livermore_dagster.platform.news import News
from livermore_dagster.platform.options import UpOptions
from livermore_dagster.platform.report import Measure, drain
from livermore_dagster.platform.screen import LiveScreen, PlainLines, View
from livermore_dagster.platform.supervisor import TICK_S, Supervisor
from livermore_dagster.platform.watch import ExchangeView, Watch

__all__ = ["run_up"]

ACTIVE_WITHIN_S = 900.0
"""A warm-up at an exchange's own pace takes minutes; what takes longer than this hangs."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_up(options: UpOptions) -> dict[str, Any] | None:
    """Run until stopped or until the time is up; the report when one was asked for.

    `--for` counts from when every autostarted exchange is active; the report's `never_active` names those
    that never were. Raises PlatformError when the platform could not be kept up, UsageError when an exchange
    cannot run as asked.
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
        self._news: News | None = None

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
        self._news = News(self._watch, self._tell, chatty=not isinstance(self._view, LiveScreen))
        wanted = {row.name for row in supervisor.autostart.exchanges}
        started = [row for row in rows if row.name in wanted]
        measure = Measure(supervisor.settings, started, supervisor.started_wall)
        measure.begin()
        never: set[str] = set()
        if self._options.run_for_s is None:
            self._until(None)
        else:
            never = self._until_active(wanted)
            if not supervisor.stopping and not never:
                measure.window.begin(self._watch.market_time.now_ms())
                self._until(time.monotonic() + self._options.run_for_s)
            if not supervisor.stopping and not never:
                self._tell("Time is up: waiting for what has closed to be stored.")
                drain(supervisor.settings, started, measure.window, self._tick)
        if not self._options.as_json:
            self._require_active(never)
            return None
        self._note_inactive(wanted, never)
        return {**measure.result(supervisor.errors), "never_active": sorted(never)}

    def _tick(self) -> None:
        self._supervisor.tick()
        self._view.refresh()
        if self._news is not None:
            self._news.look()

    def _until(self, deadline: float | None) -> None:
        while not self._supervisor.stopping and (deadline is None or time.monotonic() < deadline):
            self._tick()
            time.sleep(TICK_S)

    def _until_active(self, wanted: set[str]) -> set[str]:
        """Waits for each to have been active once; those that never were, when stopped or out of patience."""
        deadline = time.monotonic() + ACTIVE_WITHIN_S
        missing = set(wanted)
        while missing and not self._supervisor.stopping and time.monotonic() < deadline:
            self._tick()
            missing -= {view.row.name for view in self._views() if view.state == "active"}
            if any(view.given_up for view in self._views() if view.row.name in missing):
                break
            time.sleep(TICK_S)
        return missing

    def _views(self) -> list[ExchangeView]:
        return self._watch.exchanges if self._watch is not None else []

    def _require_active(self, never: set[str]) -> None:
        for view in self._views():
            if view.row.name in never and view.given_up:
                raise UsageError(f"{view.row.name} cannot run as asked: {view.given_up}")
        if never and not self._supervisor.stopping:
            raise PlatformError(
                f"Not active within {ACTIVE_WITHIN_S:.0f} s: {', '.join(sorted(never))}.",
                f"See {self._options.home}/logs/worker-ingest.log.",
            )

    def _note_inactive(self, wanted: set[str], never: set[str]) -> None:
        """An autostarted exchange that is not active at the end is an error of the run."""
        for view in self._views():
            name = view.row.name
            if name in wanted and view.state != "active":
                how = "never became active" if name in never else "is not active at the end"
                why = f": {view.last_error}" if view.last_error else ""
                self._supervisor.errors.append(f"{name} {how} (it is {view.state}){why}")
