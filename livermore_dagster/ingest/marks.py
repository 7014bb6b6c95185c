"""Tells what closer and exchange clock only count: they do no I/O and know no incidents."""

from __future__ import annotations

from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.pipeline import Pipeline
from livermore_dagster.market.closing import Closer
from livermore_dagster.market.exchange_clock import ExchangeClock

__all__ = ["Marks"]


class Marks:
    """One of an exchange; a flood of like marks is told as one (Pipeline.on_notice)."""

    def __init__(self, closer: Closer, exchange_clock: ExchangeClock, pipeline: Pipeline, place: str) -> None:
        self._closer = closer
        self._exchange_clock = exchange_clock
        self._pipeline = pipeline
        self._place = place
        self._jumps = exchange_clock.refused
        self._unproven = closer.stats.unproven - closer.stats.primed
        self._steps_back = closer.stats.steps_back

    def look(self) -> None:
        """What grew since the last look."""
        # What a new connection found half done is asked of REST too, and nothing of it was lost.
        jumps, stats = self._exchange_clock.refused, self._closer.stats
        unproven = max(self._unproven, stats.unproven - stats.primed)
        if jumps > self._jumps:
            text = "its stream told a time too far from the one before; a second frame must confirm it"
            self._pipeline.on_notice(IncidentName.CLOCK_JUMP, self._place, text)
        back = stats.steps_back
        if back > self._steps_back:
            text = "its stream's time stepped back; what was open is not proven by it, REST is asked"
            self._pipeline.on_notice(IncidentName.CLOCK_JUMP, self._place, text)
        if unproven > self._unproven:
            lacking = "their closed flag" if self._closer.flagged else "proof that nothing of them was lost"
            text = f"{unproven - self._unproven} candles ended without {lacking}; REST is asked"
            self._pipeline.on_notice(IncidentName.FLAGS_LOST, self._place, text)
        self._jumps, self._unproven, self._steps_back = jumps, unproven, back
