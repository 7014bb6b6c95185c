"""Repair: answers the closer's questions by REST, each bucket once, and tells the ledger what is absent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.closing import Closer, Question

__all__ = ["RepairReport", "RepairQueue", "repair"]


@dataclass(slots=True)
class RepairReport:
    asked: int = 0
    """Requests sent."""
    filled: int = 0
    """Candles written."""
    absent: int = 0
    """Buckets proven absent."""
    given_up: int = 0
    """Buckets REST could not answer for within the retries."""
    failed: int = 0


async def repair(ctx: ExchangeContext, questions: Sequence[Question], closer: Closer | None = None) -> RepairReport:
    """Answer `questions` in rank order and report each answer to `closer` (when there is one)."""
    raise AssertionError


class RepairQueue:
    """The live service's repair: `put` questions at any time, `run` until stopped; each bucket is asked once."""

    def __init__(self, ctx: ExchangeContext, closer: Closer) -> None:
        self.total = RepairReport()

    def put(self, questions: Sequence[Question]) -> None:
        """Never blocks, never drops."""

    @property
    def waiting(self) -> int:
        """Questions not yet answered."""
        return 0

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set."""
