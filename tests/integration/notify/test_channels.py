"""Channels by themselves, against services on loopback: what each kind makes of a notice and of an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from livermore_dagster.clock import SystemClock
from livermore_dagster.notify.apprise_channel import AppriseChannel
from livermore_dagster.notify.channel import Reply, Sent, TryAgain
from livermore_dagster.notify.discord import DiscordChannel, Gates
from livermore_dagster.notify.text import alert_notice, digest_notice
from tests.integration.notify.stand_in import StandIn, playing
from tests.unit.notify.alerts import heard

URL = "https://www.binance.com/en/trade/BTCUSDT"
NOTICE = alert_notice(heard(), URL, simulated=False, chart=None)


@pytest.fixture
async def services() -> AsyncIterator[StandIn]:
    async with playing() as played:
        yield played


async def test_a_text_longer_than_a_service_takes_comes_in_parts(services: StandIn) -> None:
    """One of json:// takes 32,768 characters."""
    notice = digest_notice("Binance", [heard(id=n) for n in range(600)], simulated=False)
    assert len(notice.text) > 40_000
    reply = await AppriseChannel(f"json://127.0.0.1:{services.port}/json").send(notice)
    assert isinstance(reply, Sent)
    parts = [post["message"] for post in services.posts]
    assert len(parts) == 2
    assert max(map(len, parts)) <= 32_768
    assert [f"alert {n}\n" in "".join(parts) + "\n" for n in (0, 599)] == [True, True]


async def test_a_service_of_html_such_as_mail_keeps_the_lines(services: StandIn) -> None:
    await AppriseChannel(f"json://127.0.0.1:{services.port}/json?format=html").send(NOTICE)
    (post,) = services.posts
    lines = post["message"].replace("<br/>", "<br />").split("<br />")
    assert len(lines) == len(NOTICE.text.splitlines())
    assert lines[0].startswith("Price:")


async def sent_to_discord(address: str) -> tuple[Reply, float]:
    """The answer, and for how long the webhook is left alone then (s)."""
    channel = DiscordChannel(address, Gates(SystemClock()))
    reply = await channel.send(NOTICE)
    await channel.close()
    return reply, channel.wait_s()


async def test_a_webhook_of_a_thread_stays_one(services: StandIn) -> None:
    reply, _ = await sent_to_discord(services.hook("main") + "?thread_id=99")
    assert isinstance(reply, Sent)
    assert services.queries == ["thread_id=99&wait=true"]


async def test_an_answer_that_cannot_be_unpacked_still_says_that_it_was_taken(services: StandIn) -> None:
    reply, _ = await sent_to_discord(services.hook("main", "garbled"))
    assert reply == Sent("message without a number")


async def test_discord_is_left_alone_for_as_long_as_it_says(services: StandIn) -> None:
    reply, wait_s = await sent_to_discord(services.hook("main", "429:7200"))
    assert reply == TryAgain("Discord answered 429: wait 7200 s", 7_200.0)
    assert 7_190 < wait_s <= 7_200
