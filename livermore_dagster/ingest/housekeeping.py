"""What a live service does about once a second: figures, and back-pressure by the backlog of closes."""

from __future__ import annotations

from typing import Final

from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.marks import Marks
from livermore_dagster.ingest.meter import Meter
from livermore_dagster.ingest.pipeline import Pipeline
from livermore_dagster.stores.redis.closes import backlog

__all__ = ["Housekeeping"]

_PAUSE_S: Final = 1.0


class Housekeeping:
    """Real seconds throughout."""

    def __init__(
        self, ctx: ExchangeContext, pipeline: Pipeline, meter: Meter, board: StatusBoard, marks: Marks
    ) -> None:
        self._ctx = ctx
        self._pipeline = pipeline
        self._meter = meter
        self._board = board
        self._marks = marks

    async def figures(self) -> None:
        """Part: until cancelled."""
        while True:
            self._marks.look()
            await self._meter.flush(self._ctx.redis)
            await self._mind_backlog()
            await self._ctx.clock.sleep(_PAUSE_S)

    async def _mind_backlog(self) -> None:
        waiting = await backlog(self._ctx.redis, self._ctx.row.id)
        if waiting.over_cap and not self._pipeline.paused:
            self._pipeline.pause()
            self._meter.count("pauses")
            self._board.facts(paused=True)
            text = f"{self._ctx.row.name} pauses: {waiting.unacknowledged} closes await their consumers."
            self._board.trouble(IncidentName.BACKLOG, text, error=True)
        elif self._pipeline.paused and not waiting.over_cap:
            self._pipeline.resume()
            self._board.facts(paused=False)
