"""Keeps a flood of like troubles from drowning everything else that people are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from livermore_dagster.clock import Clock
from livermore_dagster.incidents import IncidentName

__all__ = ["Throttle"]

_WINDOW_S: Final = 10.0

Tell = Callable[[IncidentName, str, str], None]


@dataclass(slots=True)
class _Kind:
    since: float
    """When one was told last, seconds, monotonic."""
    held: int = 0
    connection: str = ""
    text: str = ""


class Throttle:
    """The first trouble of a kind is told at once, those of ten seconds after it as one, with a count."""

    def __init__(self, tell: Tell, clock: Clock) -> None:
        self._tell = tell
        self._clock = clock
        self._kinds: dict[IncidentName, _Kind] = {}

    def __call__(self, kind: IncidentName, connection: str, text: str) -> None:
        self.look()
        known = self._kinds.get(kind)
        if known is None:
            self._kinds[kind] = _Kind(self._clock.monotonic())
            self._tell(kind, connection, text)
            return
        known.held += 1
        known.connection, known.text = connection, text

    def look(self) -> None:
        """Tells what was held back long enough; to be called now and then."""
        now = self._clock.monotonic()
        for kind, known in list(self._kinds.items()):
            if now - known.since < _WINDOW_S:
                continue
            del self._kinds[kind]
            if known.held:
                self._kinds[kind] = _Kind(now)
                more = f" (the last of {known.held} in {_WINDOW_S:.0f} s)" if known.held > 1 else ""
                self._tell(kind, known.connection, f"{known.text}{more}")
