"""What the sensors that wait for boundaries share: how far each has read, and what an event asks for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import TIMEFRAMES, Timeframe
from livermore_dagster.stores.redis.boundaries import BoundaryEvent

__all__ = [
    "EVENTS_A_READ",
    "ROW_OF",
    "WAIT_MS",
    "advance",
    "hour_ended",
    "judged_timeframes",
    "read_cursor",
    "union",
]

WAIT_MS = 4_000
"""A tick waits this long for an event: well under the daemon's 60 s, long enough to nearly always be
listening."""
EVENTS_A_READ: Final = 200
AUDITED_MS: Final = Timeframe.H1.ms
ROW_OF: Final[Mapping[int, ExchangeRow]] = {row.id: row for row in ROWS}


def union(events: Iterable[BoundaryEvent]) -> list[BoundaryEvent]:
    """One event per exchange: its newest boundary, with the timeframes of all older ones given."""
    newest: dict[int, BoundaryEvent] = {}
    for event in sorted(events, key=lambda one: one.boundary_ms):
        held = newest.get(event.exchange_id)
        timeframes = set(event.timeframes) | set(held.timeframes if held else ())
        newest[event.exchange_id] = BoundaryEvent(
            event.exchange_id,
            event.entry_id,
            event.boundary_ms,
            tuple(tf for tf in TIMEFRAMES if tf in timeframes),
            event.settled,
            event.unsettled,
            event.wall_ms,
        )
    return sorted(newest.values(), key=lambda one: one.exchange_id)


def judged_timeframes(event: BoundaryEvent) -> list[Timeframe]:
    """Those due that the exchange has; once an hour those it streams that are shorter than any boundary
    too."""
    row = ROW_OF[event.exchange_id]
    short = [tf for tf in row.streamed_timeframes if tf.ms < Timeframe.M15.ms and hour_ended(event)]
    return [*short, *(tf for tf in event.timeframes if tf in row.timeframes)]


def hour_ended(event: BoundaryEvent) -> bool:
    """Whether a full hour lies in (last boundary handled, this one]: what lasts so long is due then, also
    where nobody was there at the hour itself and a later boundary stands for it."""
    return event.boundary_ms % AUDITED_MS == 0 or any(tf.ms >= AUDITED_MS for tf in event.timeframes)


def read_cursor(text: str | None) -> dict[int, str]:
    """The last stream id seen per exchange id; '0' where none was."""
    known = {int(exchange): str(entry) for exchange, entry in json.loads(text or "{}").items()}
    return {row.id: known.get(row.id, "0") for row in ROWS}


def advance(cursor: dict[int, str], events: Iterable[BoundaryEvent]) -> None:
    """Moves the cursor on over `events`."""
    for event in events:
        cursor[event.exchange_id] = max(cursor[event.exchange_id], event.entry_id, key=_order)


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
