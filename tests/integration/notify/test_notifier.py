"""Alerts reach those who want them, on every channel they have, whatever a channel does."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from livermore_dagster.clock import SystemClock
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest.outbox import Outbox
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.notify import service
from livermore_dagster.notify.company import Company
from livermore_dagster.stores.postgres.alerts import Withdrawal, withdraw_alerts
from livermore_dagster.stores.redis import keys
from tests.eventually import eventually
from tests.integration.notify.conftest import BEGIN, BINANCE, COINBASE, M5, NEVER_S, Told, alert, all_in


async def test_an_alert_arrives_with_embed_chart_and_receipt(told: Told) -> None:
    await told.user(channels=[told.channel("main", chart=True)])
    await told.candles(200)
    async with told.notifier():
        (alert_id,) = await told.raise_alerts(alert(150, macdv=-162.5, direction="down", label="level_-150"))
        rows = await told.until_rows(all_in("sent"))
    (message,) = told.services.received
    assert message.alerts == [(alert_id, 1)]
    assert message.embed["title"] == "▼ AAAUSDT 5m · level −150"
    assert message.embed["url"].endswith("AAAUSDT") or "AAA" in message.embed["url"]
    assert message.embed["image"] == {"url": f"attachment://chart-{alert_id}.png"}
    assert message.files[f"chart-{alert_id}.png"].startswith(b"\x89PNG")
    assert rows[0]["receipt"] == "message 10001"
    assert (rows[0]["attempts"], rows[0]["last_error"]) == (1, None)


async def test_what_was_stored_while_it_was_away_is_told_at_its_start(told: Told) -> None:
    await told.user(channels=[told.channel("main")])
    ids = await told.raise_alerts(alert(1), alert(1, "BBBUSDT"), publish=False)
    async with told.notifier():
        await told.until_rows(all_in("sent"))
    assert sorted(told.services.alerts("main")) == ids


async def test_every_trouble_of_a_channel_ends_in_every_alert_told(told: Told) -> None:
    """Distinct alerts received = alerts stored; a repetition is marked by its attempt."""
    steps = ("429:0.2", "ok", "500", "drop", "last:0.3", "take-and-drop", "429-global:0.2")
    await told.user(channels=[told.channel("main", *steps), told.channel("calm")])
    async with told.notifier():
        ids = await told.raise_alerts(*(alert(1, f"A{n}USDT") for n in range(8)))
        await told.until_rows(all_in("sent"))
    assert sorted(told.services.alerts("calm")) == ids
    again = told.services.unanswered
    assert again
    assert sorted(told.services.alerts("main")) == sorted([*ids, *again]), "only what was not answered"
    pairs = [pair for one in told.services.received if one.hook == "main" for pair in one.alerts]
    assert len(set(pairs)) == len(pairs), "told again with a higher attempt"


async def test_many_at_once_come_several_in_a_message_none_twice(told: Told) -> None:
    """At midnight all timeframes close: thirty messages would take a webhook twelve seconds."""
    await told.user(channels=[told.channel("main", "ok", "500")])
    async with told.notifier():
        ids = await told.raise_alerts(*(alert(1, f"A{n}USDT") for n in range(30)), publish=False)
        await told.raise_alerts(alert(1, "LASTUSDT"))
        await told.until_rows(all_in("sent"))
    assert sorted(told.services.alerts("main"))[:30] == ids
    assert len(told.services.alerts("main")) == 31
    assert max(one.embeds for one in told.services.received) == 5
    assert len(told.services.received) <= 9


async def test_nothing_is_sent_into_a_closed_window(told: Told) -> None:
    await told.user(channels=[told.channel("main", "last:0.6", "429:0.5")])
    async with told.notifier():
        await told.raise_alerts(alert(1), alert(1, "BBBUSDT"))
        await told.until_rows(all_in("sent"))
    at = [when for _, _, when in told.services.requests]
    assert at[1] - at[0] >= 0.59
    assert at[2] - at[1] >= 0.49
    assert len(at) == 3


async def test_one_that_says_at_once_and_refuses_again_is_not_asked_without_a_pause(told: Told) -> None:
    await told.user(channels=[told.channel("main", "429:0", "429:0")])
    async with told.notifier():
        await told.raise_alerts(alert(1))
        await told.until_rows(all_in("sent"))
    at = [when for _, _, when in told.services.requests]
    assert len(at) == 3
    assert all(later - earlier >= 0.49 for earlier, later in pairwise(at))


async def test_a_dead_channel_delays_no_other(told: Told) -> None:
    await told.user(channels=[told.channel("dead", default="hang"), told.channel("lively")])
    async with told.notifier():
        for n in range(5):
            await told.raise_alerts(alert(1, f"A{n}USDT"))
        await told.services.until(lambda: len(told.services.alerts("lively")) == 5)
    assert told.services.alerts("dead") == []


async def test_what_is_refused_for_good_is_not_tried_again_and_says_why(told: Told) -> None:
    await told.user(channels=[told.channel("gone", "404", "401", default="404")])
    async with told.notifier():
        await told.raise_alerts(alert(1), alert(1, "BBBUSDT"))
        rows = await told.until_rows(all_in("failed"))
    assert [row["attempts"] for row in rows] == [1, 1]
    assert "there is no such webhook" in rows[0]["last_error"]
    assert "token is wrong" in rows[1]["last_error"]


async def test_a_variable_that_is_not_set_is_named(told: Told) -> None:
    await told.user(channels=[{"name": "main", "kind": "discord", "url_env": "NOBODY_SET_ME"}])
    async with told.notifier():
        await told.raise_alerts(alert(1))
        rows = await told.until_rows(all_in("failed"))
    assert "NOBODY_SET_ME is not set" in rows[0]["last_error"]


async def test_late_alerts_come_in_one_digest_per_exchange(told: Told) -> None:
    await told.user(channels=[told.channel("main")])
    late_by = 3 * M5.ms
    old = [
        alert(n, f"A{n}USDT", late=True, triggered_ms=BEGIN + (n + 1) * M5.ms + late_by) for n in range(40)
    ]
    young = alert(50, "YUSDT", late=True, triggered_ms=BEGIN + 51 * M5.ms + M5.ms)
    await told.raise_alerts(*old, publish=False)
    await told.raise_alerts(*old[:3], exchange_id=COINBASE, publish=False)
    (single,) = await told.raise_alerts(young, publish=False)
    async with told.notifier():
        rows = await told.until_rows(all_in("sent"))
    messages = told.services.received
    assert len(messages) == 3
    assert messages[0].alerts == [(single, 1)]
    assert sorted(len(one.alerts) for one in messages[1:]) == [3, 40]
    assert {one.embed["title"] for one in messages[1:]} == {
        "3 late alerts on Coinbase Advanced",
        "40 late alerts on Binance",
    }
    assert {row["form"] for row in rows if row["alert_id"] != single} == {"digest"}


async def test_a_mute_takes_effect_at_once(told: Told) -> None:
    channel = told.channel("main")
    await told.user(channels=[channel])
    async with told.notifier():
        await told.raise_alerts(alert(1))
        await told.until_rows(all_in("sent"))
        await told.settings(channels=[channel], mutes=[{"exchange": "binance", "symbol": "AAAUSDT"}])
        await told.until_settings_taken()
        await told.raise_alerts(alert(9), alert(9, "BBBUSDT"))
        rows = await told.until_rows(lambda rows: len(rows) == 3 and all_in("sent", "muted")(rows))
    assert [(row["state"], row["reason"]) for row in rows[1:]] == [
        ("muted", "muted: binance AAAUSDT"),
        ("sent", None),
    ]


async def test_settings_are_said_to_be_taken_once_alerts_are_judged_by_them(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the channels have theirs: who waits for that would be told by the old ones."""
    monkeypatch.setattr(service, "_BEAT_S", 0.05)
    expire, held, go_on = Company.expire, asyncio.Event(), asyncio.Event()

    async def last_step(company: Company) -> None:
        if sum(user.revision for user in company._users.values()) == 2:
            held.set()
            await go_on.wait()
        await expire(company)

    monkeypatch.setattr(Company, "expire", last_step)
    channel = told.channel("main")
    await told.user(channels=[channel], mutes=[{"symbol": "AAAUSDT"}])
    async with told.notifier():
        await told.settings(channels=[channel])
        async with asyncio.timeout(60):
            await held.wait()
        held_ms = SystemClock().now_ms()

        async def told_since() -> bool:
            return bool((await state())["at_ms"] > held_ms)

        async def state() -> dict[str, Any]:
            return dict(json.loads(await told.redis.get(keys.NOTIFIER) or '{"at_ms": 0}'))

        await eventually(told_since)
        assert (await state())["revisions"] == 1
        go_on.set()
        await told.until_settings_taken()
        await told.raise_alerts(alert(1))
        await told.until_rows(all_in("sent"))


async def test_what_waits_for_a_channel_is_muted_too(told: Told) -> None:
    """Muted while the channel was down: it must not come when that is back."""
    channel = told.channel("main", "held:429:0.2")
    await told.user(channels=[channel])
    async with told.notifier():
        await told.raise_alerts(alert(1))
        await told.services.until(lambda: bool(told.services.requests))
        await told.settings(channels=[channel], mutes=[{"symbol": "AAAUSDT"}])
        await told.until_settings_taken()
        told.services.let_go.set()
        rows = await told.until_rows(all_in("muted"))
    assert rows[0]["attempts"] == 1
    assert told.services.received == []


@pytest.mark.parametrize(
    ("settings", "state", "reason"),
    [
        ({"quiet_hours": [{"start": "00:00:00", "end": "02:00:00"}]}, "quiet", "quiet hours in UTC"),
        ({"timeframes": ["1h"]}, "muted", "5m is not among alerts.timeframes"),
        ({"levels": [200]}, "muted", "+150 is not among alerts.levels"),
        ({"exchanges": ["coinbase"]}, "muted", "binance is not among alerts.exchanges"),
    ],
)
async def test_every_setting_holds_for_what_waits(
    told: Told, settings: dict[str, Any], state: str, reason: str
) -> None:
    channel = told.channel("main", "held:429:0.2")
    await told.user(channels=[channel])
    async with told.notifier():
        await told.raise_alerts(alert(1))
        await told.services.until(lambda: bool(told.services.requests))
        await told.settings(channels=[channel], **settings)
        await told.until_settings_taken()
        told.services.let_go.set()
        rows = await told.until_rows(all_in("muted", "quiet", "sent"))
    assert [(row["state"], row["reason"]) for row in rows] == [(state, reason)]
    assert told.services.received == []


async def test_a_simulation_is_told_only_when_asked_for_and_titled(told: Told) -> None:
    channel = told.channel("main")
    await told.user(channels=[channel])
    async with told.notifier("sim:7"):
        await told.raise_alerts(alert(1))
        rows = await told.until_rows(all_in("muted"))
        assert "alerts.simulated" in rows[0]["reason"]
        await told.settings(channels=[channel], simulated=True)
        await told.until_settings_taken()
        await told.raise_alerts(alert(2))
        await told.services.until(lambda: bool(told.services.received))
    assert told.services.received[0].embed["title"].startswith("SIMULATED · ")


async def test_quiet_hours_keep_still(told: Told) -> None:
    hours = [{"start": "00:30:00", "end": "02:00:00"}]
    await told.user(
        channels=[told.channel("main")], quiet_hours=hours, profile={"time_zone": "Europe/Berlin"}
    )
    async with told.notifier():
        # BEGIN is midnight UTC: 01:00 in Berlin.
        await told.raise_alerts(alert(1), alert(14, "BBBUSDT"))
        rows = await told.until_rows(lambda rows: len(rows) == 2 and all_in("sent", "quiet")(rows))
    assert [row["state"] for row in rows] == ["quiet", "sent"]


async def test_what_was_withdrawn_before_it_left_is_not_sent(told: Told) -> None:
    await told.user(channels=[told.channel("main", "held:429:0.2")])
    async with told.notifier():
        await told.raise_alerts(alert(1, "BBBUSDT"), alert(2))
        await told.services.until(lambda: bool(told.services.requests))
        async with told.pool.connection() as connection:
            gone = Withdrawal("AAAUSDT", M5, "level_150", BEGIN + 2 * M5.ms, BEGIN + 4 * M5.ms)
            await withdraw_alerts(connection, BINANCE, [gone])
        told.services.let_go.set()
        rows = await told.until_rows(all_in("sent", "withdrawn"))
    assert [row["state"] for row in rows] == ["sent", "withdrawn"]


@pytest.mark.parametrize("noted", [True, False], ids=["noted by its channel", "not yet judged"])
async def test_what_a_revision_takes_back_and_another_brings_again_is_told_once(
    told: Told, monkeypatch: pytest.MonkeyPatch, noted: bool
) -> None:
    monkeypatch.setattr(service, "_LOOK_S", 0.2)
    gone = Withdrawal("AAAUSDT", M5, "level_150", BEGIN + 2 * M5.ms, BEGIN + 4 * M5.ms)
    ids = await told.raise_alerts(alert(2), publish=False)
    async with told.pool.connection() as connection:
        await withdraw_alerts(connection, BINANCE, [gone])
    await told.user(channels=[told.channel("main"), told.channel("calm")])
    async with told.notifier():
        if noted:
            await told.until_rows(all_in("withdrawn"))
        await told.raise_alerts(alert(2, revised=True), publish=False)
        await told.until_rows(all_in("sent"))
        # Sent, it is never sent again, however often that happens (S6b).
        async with told.pool.connection() as connection:
            await withdraw_alerts(connection, BINANCE, [gone])
        await told.raise_alerts(alert(2, revised=True), publish=False)
        other = await told.raise_alerts(alert(9))
        await told.until_rows(lambda rows: len(rows) == 4 and all_in("sent")(rows))
    assert told.services.alerts("main") == told.services.alerts("calm") == [*ids, *other]


async def test_what_stands_again_is_told_at_once(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """By ingest's word, not by the look that comes now and then."""
    monkeypatch.setattr(service, "_LOOK_S", NEVER_S)
    gone = Withdrawal("AAAUSDT", M5, "level_150", BEGIN + 2 * M5.ms, BEGIN + 4 * M5.ms)
    ids = await told.raise_alerts(alert(2), publish=False)
    async with told.pool.connection() as connection:
        await withdraw_alerts(connection, BINANCE, [gone])
    await told.user(channels=[told.channel("main")])
    async with told.notifier():
        await told.until_rows(all_in("withdrawn"))
        assert await told.raise_alerts(alert(2, revised=True), publish=False) == []
        outbox = Outbox(told.redis, told.pool, next(row for row in ROWS if row.id == BINANCE))
        await outbox.deliver([], again=True)
        await told.services.until(lambda: told.services.alerts("main") == ids)


async def test_what_was_refused_was_not_told(told: Told) -> None:
    """The level above it, which a revision adds, is."""
    await told.user(channels=[told.channel("main", "404")])
    async with told.notifier():
        await told.raise_alerts(alert(1))
        await told.until_rows(all_in("failed"))
        ids = await told.raise_alerts(alert(1, label="level_200", revised=True))
        await told.until_rows(lambda rows: len(rows) == 2 and rows[1]["state"] != "pending")
    assert told.services.alerts("main") == ids


async def test_a_revision_brings_no_second_level_of_a_candle(told: Told) -> None:
    await told.user(channels=[told.channel("main")])
    async with told.notifier():
        await told.raise_alerts(alert(1))
        await told.raise_alerts(alert(1, label="level_200", revised=True))
        rows = await told.until_rows(lambda rows: len(rows) == 2 and all_in("sent", "muted")(rows))
    assert [row["state"] for row in rows] == ["sent", "muted"]
    assert "level_150 of the same candle" in rows[1]["reason"]


async def test_another_service_gets_words_and_a_coarse_receipt(told: Told) -> None:
    await told.user(channels=[told.channel("other", kind="apprise", chart=True)])
    await told.candles(60)
    async with told.notifier():
        await told.raise_alerts(alert(59))
        rows = await told.until_rows(all_in("sent"))
    (post,) = told.services.posts
    assert post["title"] == "▲ AAAUSDT 5m · level 150"
    assert "MACD-V: +151.50 · signal +120.00" in post["message"]
    assert len(post["attachments"]) == 1
    assert "apprise tells no more" in rows[0]["receipt"]


async def test_a_channel_taken_out_leaves_nothing_waiting(told: Told) -> None:
    await told.user(channels=[told.channel("main", default="500")])
    async with told.notifier():
        await told.raise_alerts(alert(1))
        await told.services.until(lambda: bool(told.services.requests))
        await told.settings(channels=[])
        rows = await told.until_rows(all_in("expired"))
    assert "no longer in the settings" in rows[0]["reason"]


async def test_two_users_are_told_each_by_their_own_settings(told: Told) -> None:
    await told.user("local:ann", channels=[told.channel("ann")], timeframes=["5m"])
    await told.user("local:bob", channels=[told.channel("bob")], timeframes=["1h"])
    async with told.notifier():
        await told.raise_alerts(alert(1))
        await told.raise_alerts(alert(12, timeframe=Timeframe.H1, candle_end_ms=BEGIN + 24 * M5.ms))
        await told.until_rows(lambda rows: len(rows) == 4 and all_in("sent", "muted")(rows))
    assert [len(told.services.alerts(name)) for name in ("ann", "bob")] == [1, 1]
