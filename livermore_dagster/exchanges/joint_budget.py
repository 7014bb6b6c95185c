"""Two limits on the same requests."""

from __future__ import annotations

import asyncio

from livermore_dagster.exchanges.budget import Budget, Permit, Settlement
from livermore_dagster.exchanges.contract import BudgetFeedback, BudgetRule, Priority

__all__ = ["JointBudget"]

_NO_FEEDBACK = BudgetFeedback()


class JointBudget:
    """An hourly budget and one a second, say: each request takes from both.

    The longer is taken from first, so that no permit of the shorter ages while the longer makes it wait. What
    replies say is of the shorter one.
    """

    def __init__(self, longer: Budget, shorter: Budget) -> None:
        self._longer, self._shorter = longer, shorter
        self._held: dict[str, Permit] = {}
        """Ticket of the shorter one's permit -> the longer one's permit of the same request."""

    async def take(self, weight: int, priority: Priority) -> Permit:
        held = await self._longer.take(weight, priority)
        try:
            permit = await self._shorter.take(weight, priority)
        except BaseException:
            await asyncio.shield(self._longer.feedback(_NO_FEEDBACK, held))
            raise
        self._held[permit.ticket] = held
        return permit

    async def feedback(
        self, feedback: BudgetFeedback, permit: Permit | None = None, *, on_its_way_ms: int = 0
    ) -> Settlement:
        if permit is not None:
            held = self._held.pop(permit.ticket)
            await self._longer.feedback(_NO_FEEDBACK, held, on_its_way_ms=on_its_way_ms)
        return await self._shorter.feedback(feedback, permit, on_its_way_ms=on_its_way_ms)

    async def set_rule(self, rule: BudgetRule) -> None:
        """Of the shorter one."""
        await self._shorter.set_rule(rule)
