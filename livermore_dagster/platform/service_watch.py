"""Whether PostgreSQL takes writes and the notifier advances: looked at in a thread, beside who asks."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import structlog

from livermore_dagster.platform.config import Settings
from livermore_dagster.stores.postgres.connect import conninfo, no_answer
from livermore_dagster.stores.postgres.statements import sql

__all__ = ["DATABASE", "NOTIFIER", "ServiceHealth", "ServiceWatch"]

log = structlog.get_logger(__name__)

DATABASE: Final = "postgresql"
NOTIFIER: Final = "notifier"

LOOK_S: Final = 5.0
AGAIN_S: Final = 1.0
"""After a look that failed."""
ANSWER_S: Final = 3.0
"""A look that takes longer is told; its statements are given up then, where the server still listens."""
FIRST_S: Final = 2.0
"""Who asks before the first look has ended waits for it, no longer."""
NOTIFIER_COMES_S: Final = 60.0
"""Beginning beside us, it need not beat yet. Its word of itself lives for 45 s."""
UNROUTED_LATE_S: Final = 60.0
"""An alert is otherwise judged within milliseconds, and a backlog of them on and on."""


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """One service at one moment; `wrong` in plain words, nothing where it is well."""

    name: str
    wrong: tuple[str, ...] = ()
    beat_age_s: float | None = None
    """Of the notifier."""

    def as_dict(self) -> dict[str, Any]:
        """What /health answers of it."""
        facts: dict[str, Any] = {"health": "down" if self.wrong else "ok", "wrong": list(self.wrong)}
        if self.beat_age_s is not None:
            facts["beat_age_s"] = round(self.beat_age_s, 1)
        return facts


class ServiceWatch:
    """One connection, kept; a server that hangs holds up its thread and nobody else. Times are monotonic."""

    def __init__(self, settings: Settings) -> None:
        self._address = conninfo(settings.database_url, settings.database_ca)
        self._begun = time.monotonic()
        self._stop = threading.Event()
        self._looked = threading.Event()
        self._look_since: float | None = None
        """Of the look under way."""
        self._wrong = ""
        self._unrouted: tuple[int, float, float] | None = None
        """The alert that has waited longest for the notifier, since when it is known to be that, and until
        when: a server that hangs is not the notifier's fault."""
        self._thread = threading.Thread(target=self._run, name="service-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends soon; a look under way is left to itself."""
        self._stop.set()

    # --- judging ------------------------------------------------------------------------------------------
    def database(self) -> ServiceHealth:
        """As the newest look found it, or as long as that has been waiting."""
        self._looked.wait(FIRST_S)
        since = self._look_since
        waits_s = 0.0 if since is None else time.monotonic() - since
        if waits_s > ANSWER_S or not self._looked.is_set():
            return ServiceHealth(DATABASE, (f"PostgreSQL has not answered for {waits_s:.0f} s",))
        return ServiceHealth(DATABASE, (self._wrong,) if self._wrong else ())

    def notifier(self, state: str | None) -> ServiceHealth:
        """`state`: what it says of itself (keys.NOTIFIER), None where none does."""
        if state is None:
            late = time.monotonic() - self._begun > NOTIFIER_COMES_S
            words = "no notifier is at work: alerts are stored and published, and nobody is told"
            return ServiceHealth(NOTIFIER, (words,) if late else ())
        age_s = max(0.0, time.time() - json.loads(state)["at_ms"] / 1000)
        unrouted = self._unrouted
        waits_s = 0.0 if unrouted is None else unrouted[2] - unrouted[1]
        if unrouted is None or waits_s <= UNROUTED_LATE_S:
            return ServiceHealth(NOTIFIER, beat_age_s=age_s)
        words = f"the notifier beats, and has not judged alert {unrouted[0]} for {waits_s:,.0f} s"
        return ServiceHealth(NOTIFIER, (words,), age_s)

    # --- looking ------------------------------------------------------------------------------------------
    def _run(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        while not self._stop.is_set():
            self._look_since = time.monotonic()
            try:
                connection, self._wrong = self._tried(connection)
            except Exception as error:  # a watch that ends would be taken for a server that hangs
                log.exception("service_watch")
                self._wrong = f"PostgreSQL could not be looked at: {type(error).__name__}: {error}"
            finally:
                self._look_since = None
            self._looked.set()
            self._stop.wait(AGAIN_S if self._wrong else LOOK_S)
        _close(connection)

    def _tried(self, kept: psycopg.Connection[Any] | None) -> tuple[psycopg.Connection[Any] | None, str]:
        """The connection to keep, and what is wrong. One that broke since the last look is no verdict."""
        if kept is not None:
            try:
                self._look(kept)
            except psycopg.Error:
                _close(kept)
            else:
                return kept, ""
        fresh: psycopg.Connection[Any] | None = None
        try:
            fresh = psycopg.connect(
                self._address, connect_timeout=int(ANSWER_S), application_name="livermore-health"
            )
            self._look(fresh)
        except psycopg.Error as error:
            # What waits for the notifier cannot be told without the table.
            self._unrouted = None
            _close(fresh)
            return None, _words(error, connected=fresh is not None)
        return fresh, ""

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        """Committed, so that it must reach the disk."""
        with connection.transaction():
            limit_ms = str(int(ANSWER_S * 1000))
            connection.execute("SELECT set_config('statement_timeout', %s, true)", [limit_ms])
            connection.execute(sql("try_write"))
            row = connection.execute(sql("find_oldest_unrouted")).fetchone()
        oldest, now = row[0] if row else None, time.monotonic()
        before = self._unrouted
        if oldest is None:
            self._unrouted = None
        else:
            since = before[1] if before is not None and before[0] == oldest else now
            self._unrouted = (oldest, since, now)


def _close(connection: psycopg.Connection[Any] | None) -> None:
    if connection is not None:
        with contextlib.suppress(psycopg.Error):
            connection.close()


def _words(error: psycopg.Error, *, connected: bool) -> str:
    if not connected:
        return no_answer(error).message
    lines = str(error).strip().splitlines()
    return f"PostgreSQL takes no writes: {lines[0] if lines else type(error).__name__}"
