"""This home among those that share its Redis and PostgreSQL: Dagster's daemon under a lease, and standbys."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from livermore_dagster.control.process import home_name
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.platform.child import Child, ChildSpec, ChildState
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.homes import HomeBeat
from livermore_dagster.platform.standbys import Standbys

__all__ = ["Network"]

DAEMON_PATIENCE_S: Final = 3.0


class Network:
    """Used from the supervisor's thread; `children` are the supervisor's, which it also ends."""

    def __init__(
        self,
        settings: Settings,
        token: str,
        children: list[Child],
        tell: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        """`token`: of this `up`. `changed`: told when a child has come or gone."""
        self._children = children
        self._tell = tell
        self._changed = changed
        self._settings = settings
        self._beat = HomeBeat(settings.redis_url, token, home_name(settings.home))
        self._standbys: Standbys | None = None
        self._daemon: Callable[[], ChildSpec] | None = None
        self._doomed_at: float | None = None

    def join(self) -> None:
        """Says that this home is up and seeks the lease. Raises RedisError."""
        self._beat.start()

    def begin(
        self,
        daemon: Callable[[], ChildSpec],
        standby: Callable[[ExchangeRow], ChildSpec],
        rows: Sequence[ExchangeRow],
        autostart: Collection[str],
    ) -> None:
        """From now on `look` keeps them. `autostart`: names of the exchanges this home shall run."""
        self._daemon = daemon
        self._standbys = Standbys(
            self._settings.redis_url,
            home_name(self._settings.home),
            rows,
            autostart,
            standby,
            self._children,
            self._tell,
            self._changed,
        )
        self._keep_daemon()
        if self._running_daemon() is None:
            other = self._beat.other()
            where = f" runs on {other.place};" if other is not None else " runs elsewhere;"
            self._tell(f"Dagster's daemon{where} this home takes it over should that end.")

    def look(self) -> None:
        if self._daemon is None or self._standbys is None:
            return
        self._keep_daemon()
        self._standbys.look()

    @property
    def standbys(self) -> list[Child]:
        return self._standbys.running if self._standbys is not None else []

    def rest(self) -> None:
        """Starts nothing any more; the lease is kept until `leave`."""
        self._daemon = None

    def leave(self) -> None:
        """After the daemon has ended."""
        self._beat.stop()
        if self._standbys is not None:
            self._standbys.close()

    def _keep_daemon(self) -> None:
        child = self._running_daemon()
        if child is None:
            if self._beat.orchestrates and self._daemon is not None:
                fresh = Child(self._daemon())
                self._children.append(fresh)
                fresh.start()
                self._changed()
                self._tell("This home runs Dagster's daemon.")
        elif self._doomed_at is not None or not self._beat.orchestrates:
            # What was told to end is ended, also where the lease has come back meanwhile: nobody else would
            # replace it.
            self._end_daemon(child)

    def _end_daemon(self, child: Child) -> None:
        """Another home may run it by now: two would do everything twice."""
        now = time.monotonic()
        if self._doomed_at is None:
            self._doomed_at = now
            self._tell("The lease on Dagster's daemon is lost: another home may run it. Ending it here.")
            child.signal(signal.SIGTERM)
            child.state = ChildState.STOPPED  # so that nobody starts it again
        elif child.running and now - self._doomed_at > DAEMON_PATIENCE_S:
            child.signal(signal.SIGKILL)
        if not child.running:
            self._doomed_at = None
            child.ended()
            self._children.remove(child)
            self._changed()

    def _running_daemon(self) -> Child | None:
        return next((child for child in self._children if child.spec.name == "daemon"), None)
