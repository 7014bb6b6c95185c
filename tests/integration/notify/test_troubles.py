"""Servers that go away, a painter that dies or hangs, a second notifier, and what admins hear of it all."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack

import pytest

from livermore_dagster.clock import SystemClock
from livermore_dagster.incidents import IncidentName
from livermore_dagster.market.candle import Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.notify import company, service
from livermore_dagster.notify.illustrator import Illustrator, request_of
from livermore_dagster.notify.painter import ChartFailed, Painter
from livermore_dagster.notify.router import Routed, Router
from livermore_dagster.stores.postgres.alerts import insert_alerts
from livermore_dagster.stores.postgres.candles import CandleTable
from livermore_dagster.stores.postgres.deliveries import HeardAlert
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.metrics import incident
from tests.eventually import eventually
from tests.integration.notify.conftest import BEGIN, BINANCE, M5, Told, alert, all_in
from tests.integration.signals.conftest import walk
from tests.unit.notify.alerts import heard


async def cut_connections(told: Told) -> None:
    """Every connection of the notifier to both servers, as a restart of theirs would."""
    await told.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    async with told.pool.connection() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'livermore-notif%'"
        )


async def test_it_comes_back_when_its_servers_do_and_misses_nothing(told: Told) -> None:
    await told.user(channels=[told.channel("main")])
    async with told.notifier():
        await told.raise_alerts(alert(1))
        await told.until_rows(all_in("sent"))
        await cut_connections(told)
        ids = await told.raise_alerts(alert(1, "BBBUSDT"), publish=False)
        await told.until_rows(lambda rows: len(rows) == 2 and all_in("sent")(rows))
    assert told.services.alerts("main")[-1:] == ids


async def test_a_channel_that_is_only_opened_anew_loses_nothing(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its old worker ends, the look for what waits for no channel goes on."""
    monkeypatch.setattr(service, "_OLD_LOOK_S", 0.02)
    monkeypatch.setattr(company, "_LEAVE_S", 0.5)
    channel = told.channel("main", "hang")
    await told.user(channels=[channel])
    async with told.notifier():
        ids = await told.raise_alerts(alert(1))
        await told.services.until(lambda: bool(told.services.requests))
        await told.settings(channels=[{**channel, "chart": True}])
        await told.until_rows(all_in("sent"))
    assert told.services.alerts("main") == ids


async def test_what_routing_stored_before_it_failed_is_sent(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody was woken for it then."""

    failed, route_some = asyncio.Event(), Router.route_some

    async def noted(router: Router) -> Routed:
        try:
            return await route_some(router)
        except ValueError:
            failed.set()
            raise

    monkeypatch.setattr(Router, "route_some", noted)
    await told.user(channels=[told.channel("main")], mutes=[{"symbol": "AAAUSDT"}])
    async with told.notifier():
        await told.until_settings_taken()
        await told.redis.set(keys.settled(BINANCE), "no time")  # it cannot judge on
        await told.raise_alerts(alert(1))
        async with told.pool.connection() as connection:
            (stored,) = await insert_alerts(connection, BINANCE, [alert(1, "BBBUSDT")])
            await connection.execute("UPDATE alert_history SET routed_ms = 1 WHERE id = %s", [stored.id])
            await connection.execute(
                "INSERT INTO alert_deliveries"
                " (alert_id, user_id, channel, form, state, routed_ms, next_attempt_ms)"
                " SELECT %s, id, 'main', 'single', 'pending', %s, 1 FROM users",
                [stored.id, SystemClock().now_ms()],
            )
        async with asyncio.timeout(60):
            await failed.wait()
        await told.redis.delete(keys.settled(BINANCE))
        await told.services.until(lambda: told.services.alerts("main") == [stored.id])


async def test_of_two_notifiers_one_works_and_the_other_takes_over(told: Told) -> None:
    await told.user(channels=[told.channel("main")])
    async with AsyncExitStack() as both:
        async with told.notifier():
            other = await both.enter_async_context(told.standing_by())
            ids = await told.raise_alerts(alert(1), alert(1, "BBBUSDT"))
            await told.until_rows(all_in("sent"))
            assert sorted(told.services.alerts("main")) == ids
            assert not other.ready.is_set()
        async with asyncio.timeout(60):
            await other.ready.wait()
        ids += await told.raise_alerts(alert(1, "CCCUSDT"))
        await told.until_rows(lambda rows: len(rows) == 3 and all_in("sent")(rows))
    assert sorted(told.services.alerts("main")) == ids


async def test_a_chart_that_cannot_be_had_holds_nothing_back(told: Told) -> None:
    """There is not one bar of it."""
    await told.user(channels=[told.channel("main", chart=True)])
    async with told.notifier():
        await told.raise_alerts(alert(1))
        await told.until_rows(all_in("sent"))
    (message,) = told.services.received
    assert message.files == {}
    assert "without its chart: its bars are no longer stored" in message.embed["footer"]["text"]


def heard_at(bar: int) -> HeardAlert:
    return heard(symbol="AAAUSDT", open_ms=BEGIN + bar * M5.ms, candle_end_ms=BEGIN + (bar + 1) * M5.ms)


async def test_a_late_alerts_chart_ends_with_its_own_bar(told: Told) -> None:
    """What came after it was not known then."""
    await told.candles(200)
    bars = await Illustrator(told.redis, told.pool, Painter(), simulated=False)._bars(heard_at(120))
    assert [bar.open_ms for bar in bars] == [BEGIN + bar * M5.ms for bar in range(121)]


async def test_a_chart_without_the_alerts_own_bar_is_none(told: Told) -> None:
    """Its marker would stand at another bar."""
    stored = [
        StampedCandle("AAAUSDT", M5, bar, Rank.FINAL, bar.open_ms + M5.ms, Origin.WARMUP) for bar in walk(9)
    ]
    await CandleTable(told.pool).upsert(BINANCE, stored)
    with pytest.raises(ChartFailed, match="its own bar is not stored"):
        await Illustrator(told.redis, told.pool, Painter(), simulated=False).chart(heard_at(9))


async def test_a_painter_that_hangs_or_dies_is_waited_for_within_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from livermore_dagster.notify import painter

    monkeypatch.setattr(painter, "PATIENCE_S", 0.2)
    request = request_of(heard(), walk(90), simulated=False)
    hanging = Painter((sys.executable, "-c", "import time; time.sleep(60)"))
    begun = time.monotonic()
    for said in ("not painted within", "the painter was busy"):
        with pytest.raises(ChartFailed, match=said):
            await hanging.paint(request, 0.3)
    assert time.monotonic() - begun < 30, "it hangs for a minute"
    await hanging.close()
    dying = Painter((sys.executable, "-c", "import sys; sys.exit(3)"))
    with pytest.raises(ChartFailed, match="the painter died"):
        await dying.paint(request, 60)
    await dying.close()


async def test_a_painter_that_cannot_be_started_gives_no_chart() -> None:
    painter = Painter(("/nowhere/at/all",))
    with pytest.raises(ChartFailed, match="could not be started: No such file"):
        await painter.paint(request_of(heard(), walk(90), simulated=False), 60)


async def test_whatever_fails_in_a_chart_the_alert_goes(told: Told) -> None:
    """What is no candle in the cache, say."""
    await told.user(channels=[told.channel("main", chart=True)])
    await told.redis.zadd(keys.candles(BINANCE, "AAAUSDT", M5), {"no candle": BEGIN + 89 * M5.ms})
    async with told.notifier():
        await told.raise_alerts(alert(89))
        await told.until_rows(all_in("sent"))
    assert "without its chart: " in told.services.received[0].embed["footer"]["text"]


async def test_a_painter_paints_on_after_one_it_could_not_paint() -> None:
    painter = Painter()
    await painter.warm()
    request = request_of(heard(timeframe=Timeframe.M5), walk(90), simulated=False)
    with pytest.raises(ChartFailed, match="no bars"):
        await painter.paint(type(request)(**{**_fields(request), **_EMPTY}), 60)
    assert (await painter.paint(request, 60)).startswith(b"\x89PNG")
    await painter.close()


_EMPTY = {name: [] for name in ("open_ms", "open", "high", "low", "close", "volume", "macdv", "signal")}


def _fields(request: object) -> dict[str, object]:
    return {name: getattr(request, name) for name in request.__struct_fields__}  # type: ignore[attr-defined]


async def test_admins_hear_of_errors_once_and_others_do_not(told: Told) -> None:
    await told.user("local:ann", role="admin", channels=[told.channel("ann")])
    await told.user("local:bob", channels=[told.channel("bob")])
    always = [{"start": "00:00:00", "end": "00:00:00"}]
    await told.user("local:eve", role="admin", channels=[told.channel("eve")], quiet_hours=always)
    async with told.notifier():
        await told.until_settings_taken()
        # From here on it looks for what comes.
        await eventually(lambda: told.redis.get(keys.NOTIFIER_INCIDENT))
        await incident(told.redis, IncidentName.WATCHDOG, 2, "a warning is not told")
        for n in range(20):
            await incident(told.redis, IncidentName.HTTP_418, 2, f"answered 418, number {n}")
        await told.services.until(lambda: bool(told.services.received))
    (message,) = told.services.received
    assert message.hook == "ann"
    assert "http 418" in message.embed["title"]
    assert "on Binance" in message.embed["title"]
    assert "number 0" in message.embed["description"]
