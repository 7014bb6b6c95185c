"""Each fault of the REST interfaces, in each exchange's dialect."""

from __future__ import annotations

import asyncio
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from livermore_dagster.simulator import coinbase_rest
from tests.integration.simulator.dialects import FIVE, Dialect, struck, values
from tests.integration.simulator.played import MINUTE, Played, stop_limits

MIDDLE = FIVE + 40_000
"""Some way into a candle that has traded, with one closed before it."""


def dated_ms(reply: httpx.Response) -> int:
    return round(parsedate_to_datetime(reply.headers["Date"]).timestamp() * 1000)


async def test_a_limit_is_told_in_the_exchanges_words(quick: Played, spoken: Dialect) -> None:
    symbol = spoken.symbol("BTC")
    forms = ("errors", "grpc") if spoken.is_coinbase else ("errors",)
    for form in forms:
        await quick.order(spoken.name, kind="rate_limit", endpoint="candles", form=form, count=1)
        await spoken.stated_ms(quick)  # another endpoint is left alone
        reply = await spoken.ask(quick, symbol)
        assert reply.status_code == 429
        body = reply.json()
        if not spoken.is_coinbase:
            assert body["code"] == -1003
            assert int(reply.headers["Retry-After"]) >= 1
        else:
            assert "Retry-After" not in reply.headers
            if form == "grpc":
                assert body["error"] == "RESOURCE_EXHAUSTED"
            else:
                assert body["errors"][0]["id"] == "rate_limit_exceeded"
    assert (await spoken.ask(quick, symbol)).status_code == 200
    assert await struck(quick, spoken, "rate_limit") == len(forms)


@pytest.mark.parametrize("name", ["binance", "binance_us"])
async def test_binance_bans_who_does_not_wait(by_hand: Played, name: str) -> None:
    spoken = Dialect(name)
    stop_limits(by_hand.simulator)
    await by_hand.order(name, "settings", refusals=3)
    for under_way_s, status in ((5, 200), (1e-9, 429)):
        await by_hand.order(name, "settings", under_way_s=under_way_s)
        await by_hand.order(name, kind="rate_limit", count=1, retry_after_s=30)
        first = await spoken.ask(by_hand, "BTCUSDT")
        assert first.status_code == 429
        assert int(first.headers["Retry-After"]) == 30
        # What was under way when the 429 came is still answered.
        assert (await spoken.ask(by_hand, "BTCUSDT")).status_code == status
    statuses = [(await spoken.ask(by_hand, "BTCUSDT")).status_code for _ in range(3)]
    assert statuses == [418, 418, 418]
    waits = [int((await spoken.ask(by_hand, "BTCUSDT")).headers["Retry-After"]) for _ in range(3)]
    # Each request during the ban lengthens it.
    assert waits[0] < waits[1] < waits[2]


async def test_a_ban_grows_with_each_request(quick: Played, spoken: Dialect) -> None:
    await quick.order(spoken.name, kind="ban", duration_s=20)
    replies = [await spoken.ask(quick, spoken.symbol("BTC"))]
    if spoken.is_coinbase:
        # What was under way when the first refusal was given does not lengthen it.
        await asyncio.sleep(coinbase_rest._UNDER_WAY_S + 0.1)
    replies += [await spoken.ask(quick, spoken.symbol("BTC")) for _ in range(2)]
    if spoken.is_coinbase:
        assert [reply.status_code for reply in replies] == [429] * 3
        assert "1015" in replies[0].text
        assert not any("Retry-After" in reply.headers for reply in replies)
        (ban,) = await quick.control(spoken.name, "faults")
        assert ban["seconds_left"] > 20 + 2 * coinbase_rest._BAN_STEP_S - 10
    else:
        assert [reply.status_code for reply in replies] == [418] * 3
        assert "IP banned until" in replies[0].json()["msg"]
        waits = [int(reply.headers["Retry-After"]) for reply in replies]
        assert waits[0] < waits[1] < waits[2]
    assert await struck(quick, spoken, "ban") == 3


async def test_another_process_eats_from_the_budget(quick: Played, spoken: Dialect) -> None:
    def budget(reply: httpx.Response) -> int:
        if spoken.is_coinbase:
            return int(reply.headers["x-ratelimit-remaining"])
        return -int(reply.headers["X-MBX-USED-WEIGHT-1M"])

    stop_limits(quick.simulator)
    before = budget(await spoken.ask(quick, spoken.symbol("BTC")))
    await quick.order(spoken.name, kind="foreign_weight", count=5)
    after = budget(await spoken.ask(quick, spoken.symbol("BTC")))
    assert before - after >= 5


@pytest.mark.parametrize("name", ["binance", "binance_us"])
async def test_raw_requests_are_limited_as_exchange_info_says(by_hand: Played, name: str) -> None:
    stop_limits(by_hand.simulator)
    limit = {"binance": 61_000, "binance_us": 6100}[name]
    stated = (await by_hand.get(name, "/api/v3/exchangeInfo", symbol="BTCUSDT")).json()["rateLimits"]
    raw = {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5}
    assert {**raw, "limit": limit} in stated
    await by_hand.order(name, "settings", raw_limit=3)
    statuses = [(await by_hand.get(name, "/api/v3/ping")).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    refused = await by_hand.get(name, "/api/v3/ping")
    assert "requests per 5 MINUTE" in refused.json()["msg"]
    assert 0 < int(refused.headers["Retry-After"]) <= 300


@pytest.mark.parametrize("status", [403, 502])
async def test_the_edge_answers_with_its_own_page(quick: Played, spoken: Dialect, status: int) -> None:
    await quick.order(spoken.name, kind="error_page", status=status, count=1)
    reply = await spoken.ask(quick, spoken.symbol("BTC"))
    assert reply.status_code == status
    assert reply.headers["Content-Type"].startswith("text/html")
    assert ("Cloudflare" if spoken.is_coinbase else "cloudfront") in reply.text
    assert (await spoken.ask(quick, spoken.symbol("BTC"))).status_code == 200


async def test_success_may_bear_an_error_or_half_a_body(quick: Played, spoken: Dialect) -> None:
    await quick.order(spoken.name, kind="error_body", endpoint="candles", count=1)
    reply = await spoken.ask(quick, spoken.symbol("BTC"))
    assert reply.status_code == 200
    body = reply.json()
    assert body["error"] == "INTERNAL" if spoken.is_coinbase else body["code"] == -1001
    await quick.order(spoken.name, kind="broken_body", count=1)
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        (await spoken.ask(quick, spoken.symbol("BTC"))).json()
    assert await struck(quick, spoken, "error_body") == await struck(quick, spoken, "broken_body") == 1


async def test_an_answer_may_be_late_or_never_come(quick: Played, spoken: Dialect) -> None:
    await quick.order(spoken.name, kind="slow_reply", delay_s=0.4, count=1)
    begun = time.monotonic()
    assert (await spoken.ask(quick, spoken.symbol("BTC"))).status_code == 200
    assert time.monotonic() - begun >= 0.4
    await quick.order(spoken.name, kind="cut_reply", count=1)
    with pytest.raises(httpx.RemoteProtocolError):
        await spoken.ask(quick, spoken.symbol("BTC"))


async def test_the_newest_closed_row_may_be_late(quick: Played, spoken: Dialect) -> None:
    symbol = spoken.symbol("BTC")
    quick.advance(MIDDLE)
    newest = quick.now() - quick.now() % FIVE - FIVE
    honest = await spoken.rows(quick, symbol)
    await quick.order(
        spoken.name, kind="late_row", symbol=symbol, timeframe="5m", settle_ms=60_000,
        until_ms=quick.now() + 2 * FIVE,
    )  # fmt: skip
    opens = [row.open_ms for row in await spoken.rows(quick, symbol)]
    # The row is missing, though the open one after it is there.
    assert opens == [row.open_ms for row in honest if row.open_ms != newest]
    assert opens[-1] > newest
    quick.advance(20_000)
    assert newest in [row.open_ms for row in await spoken.rows(quick, symbol)]
    assert await struck(quick, spoken, "late_row") == 1


async def test_the_open_row_may_be_left_out(quick: Played, spoken: Dialect) -> None:
    quick.advance(MIDDLE)
    honest = await spoken.rows(quick, spoken.symbol("BTC"))
    await quick.order(spoken.name, kind="no_open_row", count=1)
    assert await spoken.rows(quick, spoken.symbol("BTC")) == honest[:-1]


async def test_a_closed_row_changes_until_it_has_settled(quick: Played, spoken: Dialect) -> None:
    """The values at close + 1 s are not those at close + 30 s, which are the truth."""
    symbol = spoken.symbol("BTC")
    quick.advance(FIVE - quick.now() % FIVE + 1000)
    newest = quick.now() - quick.now() % FIVE - FIVE
    until = quick.now() + FIVE
    await quick.order(spoken.name, kind="revise", symbol=symbol, settle_ms=30_000, until_ms=until)

    async def row() -> tuple[int, str, str]:
        (found,) = [one for one in await spoken.rows(quick, symbol) if one.open_ms == newest]
        return values(found)

    final = values(await spoken.final(quick, symbol, newest))
    early = await row()
    assert early != final
    assert early == await row()
    quick.advance(29_000)
    assert await row() == final
    assert await struck(quick, spoken, "revise") == 2


async def test_a_page_may_come_from_an_old_cache(quick: Played, spoken: Dialect) -> None:
    symbol = spoken.symbol("BTC")
    quick.advance(MIDDLE)
    now = quick.now()
    honest = await spoken.rows(quick, symbol)
    await quick.order(spoken.name, kind="stale_page", symbol=symbol, stale_ms=2 * MINUTE, count=1)
    stale = await spoken.ask(quick, symbol)
    assert dated_ms(stale) == (now - 2 * MINUTE) // 1000 * 1000
    assert stale.headers["Age"] == "120"
    await quick.order(spoken.name, kind="stale_page", symbol=symbol, stale_ms=2 * MINUTE, count=1)
    old = await spoken.rows(quick, symbol)
    # The candle that was open then is the newest there, and half made, though it has closed since.
    assert [row.open_ms for row in old] == [row.open_ms for row in honest[:-1]]
    assert values(old[-1]) != values(honest[-2])
    fresh = await spoken.ask(quick, symbol)
    assert "Age" not in fresh.headers
    assert abs(dated_ms(fresh) - now) <= 1000


async def test_empty_intervals_may_be_treated_the_other_way(quick: Played, spoken: Dialect) -> None:
    symbol = spoken.symbol("REQ")
    honest = await spoken.rows(quick, symbol, 60)
    await quick.order(spoken.name, kind="swap_fillers", symbol=symbol, count=1)
    swapped = await spoken.rows(quick, symbol, 60)
    traded = [row for row in honest if row.volume != "0"]
    assert 0 < len(traded) < 60
    assert [row for row in swapped if row.volume != "0"] == traded
    assert len(swapped) == (60 if spoken.is_coinbase else len(traded))
    assert len(honest) == (len(traded) if spoken.is_coinbase else 60)


async def test_replies_are_dated_by_the_exchanges_clock(quick: Played, spoken: Dialect) -> None:
    body: dict[str, Any] = {"kind": "skew", "skew_ms": 3000, "where": "rest", "count": 1}
    assert dated_ms(await spoken.ask(quick, spoken.symbol("BTC"))) == quick.now() // 1000 * 1000
    await quick.order(spoken.name, **body)
    reply = await spoken.ask(quick, spoken.symbol("BTC"))
    assert dated_ms(reply) == (quick.now() + 3000) // 1000 * 1000
