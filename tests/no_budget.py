"""A budget that is switched off: the negative control that the simulator does enforce its limits."""

from __future__ import annotations

from livermore_dagster.exchanges.budget import Permit, Settlement
from livermore_dagster.exchanges.contract import BudgetFeedback, BudgetRule, Priority


class NoBudget:
    """Grants everything at once. Given to ExchangeClient's constructor by a test, and by nothing else."""

    async def take(self, weight: int, priority: Priority) -> Permit:
        return Permit("unlimited", weight)

    async def feedback(
        self, feedback: BudgetFeedback, permit: Permit | None = None, *, on_its_way_ms: int = 0
    ) -> Settlement:
        return Settlement()

    async def set_rule(self, rule: BudgetRule) -> None:
        return None
