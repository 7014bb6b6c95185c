"""A start that meets the instance's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from livermore_dagster.ingest import commands
from livermore_dagster.ingest.commands import InstanceCommands
from livermore_dagster.ingest.session import Change
from livermore_dagster.stores.redis.desired import Desired, SymbolChoice


class Running:
    """A session that began with what was wanted before."""

    paused = False

    def __init__(self) -> None:
        self.reloaded: list[Desired] = []

    async def during(self, work: Awaitable[Any]) -> Any:
        return await work

    async def reload(self, wanted: Desired) -> Change:
        self.reloaded.append(wanted)
        return Change((), (), 10, 0)


async def test_a_choice_reaches_the_session_that_began_while_it_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exchange is wanted, its starts have failed until now, and one succeeds just then."""
    host = SimpleNamespace(session=None, begins=asyncio.Event(), look=lambda: None)
    running, stored = Running(), Desired("running", SymbolChoice(), "u")

    async def checks(ctx: Any, desired: Desired) -> None:
        host.session, begun, host.begins = running, host.begins, asyncio.Event()
        begun.set()

    async def read(redis: Any, exchange_id: int) -> Desired:
        return stored

    async def change(redis: Any, exchange_id: int, to: Any) -> Desired:
        return to(stored)

    monkeypatch.setattr(commands, "resolve_monitored", checks)
    monkeypatch.setattr(commands, "read_desired", read)
    monkeypatch.setattr(commands, "change_desired", change)
    monkeypatch.setattr(commands, "_BEGUN_S", 0.1)
    ctx = SimpleNamespace(row=SimpleNamespace(id=1, name="x"), redis=None)
    board = SimpleNamespace(state=SimpleNamespace(value="warming"))
    command = SimpleNamespace(sub="u", typed_payload=lambda: SimpleNamespace(top=10, symbols=None))
    said = await InstanceCommands(ctx, board, host)._start(command, None)
    assert running.reloaded == [replace(stored, symbols=SymbolChoice(10, None))]
    assert said == {"symbols": 10, "state": "warming"}
