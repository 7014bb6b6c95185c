"""What an instance has to tell is told, also when more comes than it can hold."""

from __future__ import annotations

import asyncio

from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest import board as board_module
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect_async
from livermore_dagster.stores.redis.metrics import read_incidents


async def test_a_full_board_loses_nothing_but_its_oldest(redis_url: str) -> None:
    client = connect_async(redis_url)
    board = StatusBoard(None, client, 2)  # type: ignore[arg-type]
    kept = board_module._KEPT
    for number in range(kept):
        board.trouble(IncidentName.STALLED, str(number))
    telling = asyncio.create_task(board.run())
    await asyncio.sleep(0)  # the first is on its way now
    board.trouble(IncidentName.STALLED, str(kept))
    async with asyncio.timeout(120):
        while await client.xlen(keys.INCIDENTS) <= kept and board._troubles:
            assert not telling.done()
    telling.cancel()
    assert [one.text for one in await read_incidents(client)] == [str(number) for number in range(kept + 1)]
    await client.aclose()
