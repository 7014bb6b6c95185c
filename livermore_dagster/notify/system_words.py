"""What went wrong on the platform, told to its admins in one line each, never in a flood."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from livermore_dagster.clock import Clock
from livermore_dagster.incidents import CATALOGUE, IncidentName, Severity
from livermore_dagster.notify.text import DOWN_COLOUR, Notice, plain_notice
from livermore_dagster.stores.redis.metrics import Incident

__all__ = ["Conflation"]

_SAME_S: Final = 600.0
_WINDOW_S: Final = 600.0
_MOST: Final = 6


class Conflation:
    """Lets one incident of a name and exchange through in ten minutes, six in all; counts the others."""

    def __init__(self, clock: Clock, *, simulated: bool) -> None:
        self._clock = clock
        self._simulated = simulated
        self._last: dict[tuple[str, int | None], float] = {}
        self._held: Counter[tuple[str, int | None]] = Counter()
        self._recent: deque[float] = deque(maxlen=_MOST)

    def notice(self, incident: Incident, exchange: str | None) -> Notice | None:
        """What to tell of an error; None for a warning, and for what was told just now."""
        if incident.severity is not Severity.ERROR:
            return None
        kind, now = (incident.name, incident.exchange_id), self._clock.monotonic()
        full = len(self._recent) == _MOST and now - self._recent[0] < _WINDOW_S
        if full or now - self._last.get(kind, float("-inf")) < _SAME_S:
            self._held[kind] += 1
            return None
        self._last[kind] = now
        self._recent.append(now)
        held = self._held.pop(kind, 0)
        more = f" ({held} more like this since the last word)" if held else ""
        where = f" on {exchange}" if exchange else ""
        title = f"Livermore: {incident.name.replace('_', ' ')}{where}"
        text = f"{_meaning(incident.name)} {incident.text}{more}".strip()
        return plain_notice(title, text, simulated=self._simulated, colour=DOWN_COLOUR)


def _meaning(name: str) -> str:
    """The catalogue's sentence; '' for a name an older version wrote."""
    return next((CATALOGUE[known].words for known in IncidentName if known.value == name), "")
