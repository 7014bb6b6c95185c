"""Faults of paged account reads: what a reader must survive without losing or doubling anything."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from livermore_dagster.simulator.accounts.directory import Account, Accounts
from livermore_dagster.simulator.faults import Fault, FaultBoard, FaultKind
from livermore_dagster.simulator.rest import Reply

__all__ = ["PageFaults"]

_HANG_S = 600.0


class PageFaults:
    """Every page of an account's orders, fills and balances passes here on its way out."""

    def __init__(self, accounts: Accounts, faults: FaultBoard, counters: Counter[str]) -> None:
        self._accounts, self._faults, self._counters = accounts, faults, counters
        self._passed: Counter[int] = Counter()
        self._last: dict[tuple[str, str], Any] = {}

    def is_revoked(self) -> bool:
        """Whether keys are refused now."""
        return self._faults.strike(FaultKind.REVOKE_KEY) is not None

    async def page(
        self,
        account: Account,
        what: str,
        make: Callable[[], Awaitable[dict[str, Any] | list[Any]]],
        cursor: str = "",
    ) -> Any:
        """The page `make` gives, as the active faults deliver it. `cursor`: the one it was asked with."""
        self._counters[f"pages:{what}"] += 1
        failing = self._due(FaultKind.FAIL_PAGE)
        if failing is not None and failing.own["how"] == "hang":
            await asyncio.sleep(_HANG_S)
        if failing is not None and failing.own["how"] == "error":
            return Reply({"error": "INTERNAL", "code": -1000, "msg": "internal", "message": "internal"}, 500)
        before = self._last.get((account.name, what))
        if before is not None and self._due(FaultKind.REPEAT_PAGE) is not None:
            return before
        body = await make()
        if isinstance(body, dict) and self._due(FaultKind.REPEAT_CURSOR) is not None:
            body = {**body, "cursor": cursor, **({"has_next": True} if "has_next" in body else {})}
        self._last[account.name, what] = body
        if self._due(FaultKind.CHANGE_ORDER) is not None:
            await self._accounts.change(account)
        if failing is not None:
            return replace(Reply(body), cut=True)
        return body

    def _due(self, kind: FaultKind) -> Fault | None:
        """The fault that strikes this page: `skip` pages pass first."""
        fault = self._faults.find(kind)
        if fault is None:
            return None
        self._passed[fault.id] += 1
        if self._passed[fault.id] <= fault.own["skip"]:
            return None
        self._faults.note(fault)
        return fault
