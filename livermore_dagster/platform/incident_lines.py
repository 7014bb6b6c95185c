"""The newest incidents as people read them: one line of each kind, with how often it was told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import redis

from livermore_dagster.incidents import CATALOGUE, IncidentName, runbook
from livermore_dagster.stores.redis.metrics import (
    Incident,
    read_incident_counts_sync,
    read_incidents_newest_sync,
)

__all__ = ["IncidentLine", "incident_lines"]

LOOKED_AT = 500


@dataclass(frozen=True, slots=True)
class IncidentLine:
    """`words`: what the kind means. `text`: the newest of it. `times`: since the Redis began."""

    name: str
    exchange: str
    severity: str
    times: int
    at_ms: int
    words: str
    text: str
    runbook: str


def incident_lines(client: redis.Redis, names: Mapping[int, str], most: int = 8) -> list[IncidentLine]:
    """The newest of each kind and exchange, newest first. `names`: of the exchanges, by id."""
    counts = read_incident_counts_sync(client)
    newest: dict[tuple[int | None, str], Incident] = {}
    for one in read_incidents_newest_sync(client, LOOKED_AT):
        newest.setdefault((one.exchange_id, one.name), one)
    return [
        IncidentLine(
            name=one.name,
            exchange=names.get(one.exchange_id or 0, ""),
            severity=one.severity.value,
            times=counts.get(place, 1),
            at_ms=one.at_ms,
            words=_words(one.name),
            text=one.text,
            runbook=runbook(one.name),
        )
        for place, one in list(newest.items())[:most]
    ]


def _words(name: str) -> str:
    """Another version of Livermore may have told what this one does not know."""
    return CATALOGUE[IncidentName(name)].words if name in set(IncidentName) else ""
