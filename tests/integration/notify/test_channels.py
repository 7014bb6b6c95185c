"""Channels by themselves, against services on loopback: what each kind makes of a notice and of an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from livermore_dagster.notify.apprise_channel import AppriseChannel
from livermore_dagster.notify.channel import Sent
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
