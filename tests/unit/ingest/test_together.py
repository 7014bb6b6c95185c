"""Work done together fails as one piece of it does."""

from __future__ import annotations

import asyncio

import pytest

from livermore_dagster.ingest.together import together


async def test_the_first_failure_is_raised_as_it_is_and_ends_the_rest() -> None:
    ended: list[str] = []

    async def fail() -> None:
        raise ConnectionError("the store is away")

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("wait")

    with pytest.raises(ConnectionError, match="the store is away"):
        await together([wait(), fail()])
    assert ended == ["wait"]
