"""Series that cannot be folded: tried again, seeded anew, set aside for a while. The others go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
import redis.asyncio
import structlog
from redis.exceptions import RedisError

from livermore_dagster.clock import Clock
from livermore_dagster.incidents import IncidentName
from livermore_dagster.stores.redis import metrics
from livermore_dagster.stores.redis.indicator_cache import SeriesKey

__all__ = ["FOLD_ERRORS", "SeriesTroubles"]

_log = structlog.get_logger(__name__)

FOLD_ERRORS: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    msgspec.MsgspecError,
)
"""What computing on a candle or a kept state may raise; servers raise others, and are waited for."""
TRIES: Final = 3
ASIDE_S: Final = 60.0


@dataclass(slots=True)
class _Trouble:
    failures: int = 0
    aside_until: float = 0.0


class SeriesTroubles:
    """Failures of each series since it was last folded.

    The third has it seeded anew from the cache; where that fails too, it is set aside: its closes are taken
    unfolded, and after a minute the seeding is tried again.
    """

    def __init__(self, client: redis.asyncio.Redis, exchange_id: int, clock: Clock) -> None:
        self._redis = client
        self._exchange_id = exchange_id
        self._clock = clock
        self._troubles: dict[SeriesKey, _Trouble] = {}
        self._untold: list[tuple[IncidentName, str]] = []
        self.again: set[SeriesKey] = set()
        """Series whose closes were put back and wait for the next round."""

    def must_seed(self, key: SeriesKey) -> bool:
        trouble = self._troubles.get(key)
        return trouble is not None and trouble.failures >= TRIES

    def is_aside(self, key: SeriesKey) -> bool:
        trouble = self._troubles.get(key)
        return trouble is not None and self._clock.monotonic() < trouble.aside_until

    def failed(self, key: SeriesKey, entry_id: str, error: Exception) -> None:
        """The close at `entry_id`, or what came of it, could not be computed."""
        trouble = self._troubles.setdefault(key, _Trouble())
        trouble.failures += 1
        self.again.add(key)
        name, words = f"{key[0]} {key[1].value}", f"{type(error).__name__}: {error}"
        _log.error("fold_failed", series=name, entry=entry_id, failures=trouble.failures, exc_info=error)
        if trouble.failures > TRIES:
            trouble.aside_until = self._clock.monotonic() + ASIDE_S
        if trouble.failures == TRIES:
            text = f"{name}: the close {entry_id} cannot be folded; the series is seeded anew. {words}"
            self._untold.append((IncidentName.FOLD_FAILED, text))
        elif trouble.failures == TRIES + 1:
            text = f"{name} cannot be computed: it is set aside, without alerts, until it can. {words}"
            self._untold.append((IncidentName.SERIES_ASIDE, text))

    def folded(self, key: SeriesKey) -> None:
        """What came of the series' closes is durable."""
        trouble = self._troubles.pop(key, None) if self._troubles else None
        if trouble is not None and trouble.failures > TRIES:
            text = f"{key[0]} {key[1].value} is computed again."
            self._untold.append((IncidentName.SERIES_RESUMED, text))

    async def tell(self) -> None:
        """Incidents of what happened meanwhile. Redis may be away: they are told later then."""
        while self._untold:
            name, text = self._untold[0]
            try:
                await metrics.incident(self._redis, name, self._exchange_id, text)
            except RedisError as error:
                _log.warning("incident_untold", name=name.value, error=str(error))
                return
            _log.warning(name.value, text=text)
            del self._untold[0]
