"""What leaves by the outbox, and what does not."""

from __future__ import annotations

import asyncio

from livermore_dagster.ingest.outbox import Outbox
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.alerts import AlertRow, Withdrawal, insert_alerts, withdraw_alerts
from livermore_dagster.stores.redis import keys
from tests.integration.signals.conftest import BEGIN, PATIENCE_S, Signals

M5 = Timeframe.M5


def alert(bar: int) -> AlertRow:
    open_ms = BEGIN + bar * M5.ms
    return AlertRow(
        symbol="AAAUSDT", timeframe=M5, label="level_150", kind="level", direction="up", open_ms=open_ms,
        candle_end_ms=open_ms + M5.ms, triggered_ms=open_ms + M5.ms, price="101", price_source="candle_close",
        price_age_ms=0, macdv=151.5, signal=120.0, histogram=31.5, stage="overbought", previous_label=None,
        timeframes={}, bias="bullish", late=False, revised=False,
    )  # fmt: skip


async def test_what_was_withdrawn_before_it_left_is_not_sent(signals: Signals) -> None:
    """The consumer died between storing an alert and sending it; a revision came first after that."""
    async with signals.pool.connection() as connection:
        await insert_alerts(connection, signals.row.id, [alert(0), alert(1)])
        gone = Withdrawal("AAAUSDT", M5, "level_150", BEGIN, BEGIN + 2 * M5.ms)
        await withdraw_alerts(connection, signals.row.id, [gone])
    pubsub = signals.redis.pubsub()
    await pubsub.subscribe(keys.channel_alerts(signals.row.id))
    stop = asyncio.Event()
    task = asyncio.create_task(Outbox(signals.redis, signals.pool, signals.row).run(stop))

    async def all_done() -> bool:
        return all(one.published_ms is not None for one in await signals.alerts())

    await signals.until(all_done)
    stop.set()
    await asyncio.wait_for(task, PATIENCE_S)
    # Published before it was noted as such: all there is has been said by now.
    sent = [one["open_ms"] for one in await signals.heard(pubsub)]
    await pubsub.aclose()
    assert sent == [BEGIN + M5.ms]
