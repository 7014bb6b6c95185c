"""Messages a service does not take, however often they are sent, among others that it would take."""

from __future__ import annotations

import pytest

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.notify import worker
from livermore_dagster.stores.postgres.alerts import AlertRow
from tests.integration.notify.conftest import BEGIN, M5, Told, alert, all_in

pytestmark = pytest.mark.usefixtures("hurried")
DAY_MS = Timeframe.D1.ms


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_FIRST_DELAY_S", 0.25)


def day_alert(symbol: str) -> AlertRow:
    """Young for two days: it is told singly, whatever the others' time."""
    end_ms = BEGIN + DAY_MS
    return alert(0, symbol, timeframe=Timeframe.D1, candle_end_ms=end_ms, triggered_ms=end_ms + 1_500)


def late(bar: int, symbol: str) -> AlertRow:
    return alert(bar, symbol, late=True, triggered_ms=BEGIN + (bar + 1) * M5.ms + 3 * M5.ms)


async def test_one_that_is_never_taken_holds_up_neither_singles_nor_digests(told: Told) -> None:
    told.services.spoiled["POISON"] = "500"
    await told.user(channels=[told.channel("main")])
    async with told.notifier():
        (spoiled,) = await told.raise_alerts(day_alert("POISON"))
        await told.until_rows(lambda rows: bool(rows) and rows[0]["attempts"] == 2)
        # By the exchange's clock, which stands at the day alert's time.
        singles = await told.raise_alerts(alert(290, "AUSDT"), alert(290, "BUSDT"))
        digest = await told.raise_alerts(late(1, "CUSDT"), late(2, "DUSDT"))
        await told.until_rows(
            lambda rows: {row["alert_id"] for row in rows if row["state"] == "sent"} == {*singles, *digest}, 9
        )
    (poisoned,) = [row for row in await told.rows() if row["alert_id"] == spoiled]
    assert (poisoned["state"], poisoned["attempts"] >= 2) == ("pending", True)


async def test_who_was_tried_twice_with_one_that_is_never_taken_goes_alone(told: Told) -> None:
    told.services.spoiled["POISON"] = "500"
    await told.user(channels=[told.channel("main")])
    ids = await told.raise_alerts(day_alert("POISON"), *(day_alert(f"A{n}USDT") for n in range(4)))
    async with told.notifier():
        await told.until_rows(lambda rows: [row["state"] for row in rows].count("sent") == 4)
    assert sorted(told.services.alerts("main")) == ids[1:]


async def test_a_digest_takes_all_of_its_exchange_however_many(told: Told) -> None:
    await told.user(channels=[told.channel("main")])
    await told.raise_alerts(*(late(1, f"A{n}USDT") for n in range(520)), publish=False)
    async with told.notifier():
        await told.until_rows(all_in("sent"))
    assert [len(one.alerts) for one in told.services.received] == [520]
