"""Alerts from ingest's outbox to a channel: both ends write to the same rows, and none lies untold."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest.outbox import HandedOver, Outbox
from livermore_dagster.notify import service
from livermore_dagster.notify.router import ExchangeClocks
from livermore_dagster.stores.postgres.alerts import AlertRow, Withdrawal, insert_alerts, withdraw_alerts
from tests.integration.notify.conftest import BEGIN, BINANCE, M5, NEVER_S, Told, alert, all_in, process


async def deliver(told: Told, outbox: Outbox, one: AlertRow) -> int:
    """As ingest does; its id."""
    async with outbox.storing:
        async with told.pool.connection() as connection:
            (stored,) = await insert_alerts(connection, BINANCE, [one])
        await outbox.deliver([HandedOver(stored, 1)])
    return stored.id


async def test_each_of_many_single_alerts_is_told_in_time(told: Told, tmp_path: Path) -> None:
    """The outbox notes what it published while the notifier, woken by the same message, looks for it."""
    await told.user(channels=[told.channel("main")])
    outbox = Outbox(told.redis, told.pool, next(row for row in ROWS if row.id == BINANCE))
    stop = asyncio.Event()
    noting = asyncio.create_task(outbox.run(stop))
    with process(told, tmp_path / "log", look_s=NEVER_S):
        await deliver(told, outbox, alert(1, "FIRSTUSDT"))
        await told.until_rows(all_in("sent"))
        for n in range(25):
            alert_id = await deliver(told, outbox, alert(1, f"A{n}USDT"))
            await told.services.until(lambda alert_id=alert_id: alert_id in told.services.alerts("main"))
    stop.set()
    await noting
    assert len(set(told.services.alerts("main"))) == len(told.services.alerts("main")) == 26


async def test_a_row_that_is_being_written_to_is_looked_at_again(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second message comes for it."""
    monkeypatch.setattr(service, "_LOOK_S", NEVER_S)
    await told.user(channels=[told.channel("main")])
    (alert_id,) = await told.raise_alerts(alert(1), publish=False)
    # The notifier begins behind it: one that takes settings just now would tell it before.
    async with told.pool.connection() as connection:
        await connection.execute("UPDATE alert_history SET published_ms = 1 WHERE id = %s", [alert_id])
        async with told.notifier():
            (other,) = await told.raise_alerts(alert(1, "BBBUSDT"))
            await told.services.until(lambda: told.services.alerts("main") == [other])
            await connection.commit()
            await told.services.until(lambda: told.services.alerts("main") == [other, alert_id])


async def test_one_that_is_being_withdrawn_mutes_no_other(told: Told) -> None:
    """It is told to nobody: the next of its series is the first."""
    await told.user(channels=[told.channel("main")], cooldown_s=900)
    gone = Withdrawal("AAAUSDT", M5, "level_150", BEGIN + M5.ms, BEGIN + 4 * M5.ms)
    first, second = await told.raise_alerts(alert(1), alert(3), publish=False)
    # The notifier begins behind it: one that looked before the withdrawal would tell the first, rightly.
    async with told.pool.connection() as connection:
        await withdraw_alerts(connection, BINANCE, [gone])
        async with told.notifier():
            await told.until_rows(lambda rows: [row["alert_id"] for row in rows] == [second])
            await connection.commit()
            rows = await told.until_rows(
                lambda rows: len(rows) == 2 and all_in("sent", "withdrawn", "muted")(rows)
            )
    assert [(row["alert_id"], row["state"]) for row in rows] == [(first, "withdrawn"), (second, "sent")]


async def test_one_that_is_withdrawn_while_it_is_judged_mutes_no_other(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at it and its mark, which goes by what was seen."""
    await told.user(channels=[told.channel("main")], cooldown_s=900)
    gone = Withdrawal("AAAUSDT", M5, "level_150", BEGIN + M5.ms, BEGIN + 4 * M5.ms)
    first, second = await told.raise_alerts(alert(1), alert(3), publish=False)
    learn = ExchangeClocks.learn

    async def withdrawn_meanwhile(clocks: ExchangeClocks, exchange_ids: Sequence[int]) -> None:
        async with told.pool.connection() as connection:
            await withdraw_alerts(connection, BINANCE, [gone])
        await learn(clocks, exchange_ids)

    monkeypatch.setattr(ExchangeClocks, "learn", withdrawn_meanwhile)
    async with told.notifier():
        rows = await told.until_rows(
            lambda rows: len(rows) == 2 and all_in("sent", "withdrawn", "muted")(rows)
        )
    assert [(row["alert_id"], row["state"]) for row in rows] == [(first, "withdrawn"), (second, "sent")]


async def test_an_alert_nobody_speaks_of_is_found(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_LOOK_S", 0.2)
    await told.user(channels=[told.channel("main")])
    async with told.notifier():
        await told.until_settings_taken()
        ids = await told.raise_alerts(alert(1), publish=False)
        await told.services.until(lambda: told.services.alerts("main") == ids)
