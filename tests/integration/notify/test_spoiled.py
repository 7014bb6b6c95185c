"""Messages a service does not take, however often they are sent, among others that it would take."""

from __future__ import annotations

import pytest

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.notify import worker
from livermore_dagster.stores.postgres import deliveries
from livermore_dagster.stores.postgres.alerts import AlertRow
from tests.integration.notify.conftest import BEGIN, BINANCE, COINBASE, M5, Told, alert, all_in

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
            lambda rows: {row["alert_id"] for row in rows if row["state"] == "sent"} == {*singles, *digest}
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


async def test_a_digest_takes_all_of_its_exchange_however_many(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = told.channel("main")
    await told.user(channels=[channel])
    await told.raise_alerts(*(late(1, f"A{n}USDT") for n in range(520)), publish=False)
    monkeypatch.setitem(deliveries._HOLD, "hold_ms", deliveries.DIGEST_HOLD_MOST_MS)
    async with told.notifier():
        # They are judged a few at a time: it leaves when the last has come to it.
        await told.until_rows(lambda rows: len(rows) == 520)
        monkeypatch.setitem(deliveries._HOLD, "hold_ms", 0)
        await told.settings(channels=[channel])  # it looks anew
        await told.until_rows(all_in("sent"))
    assert [len(one.alerts) for one in told.services.received] == [520]


async def test_one_that_is_refused_for_good_takes_no_other_with_it(told: Told) -> None:
    told.services.spoiled["POISON"] = "400"
    await told.user(channels=[told.channel("main")])
    symbols = ("AUSDT", "BUSDT", "POISON", "CUSDT", "DUSDT")
    ids = await told.raise_alerts(*(alert(1, symbol) for symbol in symbols), publish=False)
    async with told.notifier():
        rows = await told.until_rows(all_in("sent", "failed"))
    assert [row["state"] for row in rows] == ["sent", "sent", "failed", "sent", "sent"]
    assert "Discord answered 400: Invalid Form Body" in rows[2]["last_error"]
    assert told.services.alerts("main") == [ids[0], ids[1], *ids[3:]]


async def test_one_whose_chart_is_refused_goes_without(told: Told) -> None:
    told.services.spoiled["AAAUSDT"] = "413:file"
    await told.user(channels=[told.channel("main", chart=True)])
    await told.candles(200)
    async with told.notifier():
        await told.raise_alerts(alert(150))
        await told.until_rows(all_in("sent"))
    (message,) = told.services.received
    assert message.files == {}
    assert message.embed["footer"]["text"].endswith("without its chart: the service refused it")


async def test_nothing_of_a_split_bundle_is_sent_into_a_closed_window(told: Told) -> None:
    """Five long alerts are more than one message may hold."""
    board = {one.value: {"value": 1.0, "stage": "x" * 150, "reason": "y" * 150} for one in Timeframe}
    await told.user(channels=[told.channel("main", "last:0.6")])
    await told.raise_alerts(*(alert(1, f"A{n}USDT", timeframes=board) for n in range(5)), publish=False)
    async with told.notifier():
        rows = await told.until_rows(all_in("sent"))
    assert [row["attempts"] for row in rows] == [1] * 5, "what did not leave was not tried"
    at = [when for _, _, when in told.services.requests]
    assert len(at) >= 2
    assert at[1] - at[0] >= 0.59


async def test_what_is_put_off_keeps_the_words_of_its_last_attempt(told: Told) -> None:
    """As at an end of the notifier, or where the window has closed."""
    await told.user(channels=[told.channel("main", default="500")])
    async with told.notifier():
        ids = await told.raise_alerts(alert(1))
        await told.until_rows(lambda rows: bool(rows) and rows[0]["last_error"] is not None)
    async with told.pool.connection() as connection:
        found = await connection.execute("SELECT user_id FROM alert_deliveries")
        (user_id,) = await found.fetchone() or (0,)
        place = deliveries.Place(user_id, "main")
        await deliveries.begin_deliveries(connection, place, ids)
        await deliveries.settle_deliveries(connection, place, ids, "pending", unmade=True)
    (row,) = await told.rows()
    assert (row["state"], "500" in (row["last_error"] or "")) == ("pending", True)


async def test_no_digest_is_sent_into_a_closed_window(told: Told) -> None:
    await told.user(channels=[told.channel("main", "last:0.6")])
    for exchange_id in (BINANCE, COINBASE):
        await told.raise_alerts(late(1, "AUSDT"), exchange_id=exchange_id, publish=False)
    async with told.notifier():
        await told.until_rows(all_in("sent"))
    first, second = [when for _, _, when in told.services.requests]
    assert second - first >= 0.59
