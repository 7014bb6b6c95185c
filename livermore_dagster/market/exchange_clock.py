"""What time it is at an exchange, told from its own messages: never back, never by one wild frame."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["ExchangeClock"]

_ANCHORS = 4
"""Earlier moments from which the speed is measured, one window after another."""
_SPEED_WINDOWS_S = (0.0, 0.5, 0.5, 2.0, 5.0)
"""By how many of them there are: the first are short, so that a speed is known within a second or so. Until
then a fast market's time seems to jump, and its stream to stand still, when this machine is busy starting."""
_SLEPT = 10
"""A confirmed jump of so many limits is no fast market: the machine slept, its monotonic clock too."""


@dataclass(slots=True)
class _Reading:
    """One connection's newest accepted time, and when (seconds, monotonic) its last message came."""

    newest_ms: int | None
    """None while nothing it told is believed."""
    heard_at: float
    pending_ms: int | None = None
    """A jump too far to believe from one frame."""


class ExchangeClock:
    """Newest message time of a connection alive within 3 s; the minimum over connections that are.

    Never runs back. A step of more than `max_jump_ms` beyond a connection's newest time counts only when a
    second, later frame confirms it. The very first frame of all needs a second one too, unless REST told the
    time before. `max_jump_ms` is exchange time: a market that runs N times faster moves N times further
    between two frames, so the limit is multiplied by the speed seen (never below 1).
    `refused` counts frames whose jump was not believed at once.
    """

    def __init__(self, *, max_jump_ms: int = 60_000, alive_s: float = 3.0) -> None:
        self.max_jump_ms = max_jump_ms
        self.alive_s = alive_s
        self.refused = 0
        self._connections: dict[str, _Reading] = {}
        self._rest_ms: int | None = None
        self._now_ms: int | None = None
        self._unconfirmed_ms: int | None = None
        """Time of the very first frame, while no second one confirms it."""
        self._speed = 1.0
        self._anchors: deque[tuple[int, float]] = deque(maxlen=_ANCHORS)
        """(exchange ms, monotonic s), oldest first."""

    @property
    def speed(self) -> float:
        """Exchange seconds per real second as measured over the last seconds; 1.0 for a real market."""
        return self._speed

    def observe(self, connection: str, event_ms: int, monotonic: float) -> None:
        """A message of `connection` carried exchange time `event_ms`."""
        reading = self._connections.get(connection)
        if reading is None:
            reading = self._connections[connection] = _Reading(None, monotonic)
        reading.heard_at = monotonic
        if reading.newest_ms is None:
            reading.newest_ms = self._first(event_ms)
            if reading.newest_ms is None:
                return
        limit = self.max_jump_ms * max(1.0, self._speed)
        if event_ms - reading.newest_ms > limit:
            pending = reading.pending_ms
            if pending is None or event_ms <= pending:
                # Equal times are one frame sent twice: no confirmation.
                if event_ms != pending:
                    self.refused += 1
                reading.pending_ms = event_ms
                return
            if event_ms - pending > limit:
                event_ms = pending
            elif event_ms - reading.newest_ms > _SLEPT * limit:
                self._anchors.clear()
        reading.pending_ms = None
        if event_ms > reading.newest_ms:
            reading.newest_ms = event_ms
            self._measure(event_ms, monotonic)

    def heard(self, connection: str, monotonic: float) -> None:
        """A message without a time: the connection lives."""
        reading = self._connections.get(connection)
        if reading is not None:
            reading.heard_at = monotonic

    def observe_rest(self, server_ms: int) -> None:
        """Server time by REST: counts while no connection is alive."""
        self._rest_ms = server_ms if self._rest_ms is None else max(self._rest_ms, server_ms)

    def drop(self, connection: str) -> None:
        """The connection is gone: it holds the clock back no longer. What it told stays known."""
        if connection in self._connections:
            times = [one.newest_ms for one in self._connections.values() if one.newest_ms is not None]
            if times:
                told = min(times)
                self._now_ms = told if self._now_ms is None else max(self._now_ms, told)
            del self._connections[connection]

    def alive(self, monotonic: float) -> bool:
        """Whether any connection that tells the time was heard within `alive_s` seconds."""
        return any(
            one.newest_ms is not None and monotonic - one.heard_at <= self.alive_s
            for one in self._connections.values()
        )

    def now(self, monotonic: float) -> int | None:
        """Exchange clock, epoch ms; None until something was heard and confirmed."""
        heard = [
            reading.newest_ms
            for reading in self._connections.values()
            if reading.newest_ms is not None and monotonic - reading.heard_at <= self.alive_s
        ]
        candidate = min(heard) if heard else self._rest_ms
        if candidate is not None and (self._now_ms is None or candidate > self._now_ms):
            self._now_ms = candidate
        return self._now_ms

    def _first(self, event_ms: int) -> int | None:
        """Where a connection starts: at what is known already, so that its first frame too cannot jump.

        None while nothing is known: then a second frame, of any connection, must come no earlier than the
        limit allows. The clock starts at the lesser of the two; how far the greater jumps is judged as ever.
        """
        known = self._now_ms if self._now_ms is not None else self._rest_ms
        if known is not None:
            return min(event_ms, known)
        first = self._unconfirmed_ms
        if first is None or event_ms <= first - self.max_jump_ms:
            self.refused += first is not None
            self._unconfirmed_ms = event_ms
            return None
        if event_ms == first:
            return None
        start = min(first, event_ms)
        for other in self._connections.values():
            if other.newest_ms is None:
                other.newest_ms = start
        return start

    def _measure(self, event_ms: int, monotonic: float) -> None:
        """The least of the speeds since several earlier moments.

        Frames that were held up come as one burst: since a moment at which they were late time seems to run
        fast, since one before it does not.
        """
        anchors = self._anchors
        if anchors and monotonic - anchors[-1][1] < _SPEED_WINDOWS_S[len(anchors)]:
            return
        if len(anchors) > 1:
            least = min((event_ms - from_ms) / 1000 / (monotonic - at) for from_ms, at in anchors)
            self._speed = max(1.0, round(least, 1))
        anchors.append((event_ms, monotonic))
