"""The REST interfaces: shapes, pages, errors and limits as the exchanges give them."""

from __future__ import annotations

from typing import Any

import pytest

from livermore_dagster.market.candle import canonical
from tests.integration.simulator.conftest import MINUTE, START, Played

GRANULARITIES = {"ONE_MINUTE": 1, "FIVE_MINUTE": 5, "FIFTEEN_MINUTE": 15, "ONE_HOUR": 60, "FOUR_HOUR": 240}
COINBASE = "/api/v3/brokerage"


def of_kline(row: list[Any]) -> dict[str, Any]:
    names = ("open", "high", "low", "close", "volume")
    return {
        "open_ms": row[0],
        **{name: canonical(text) for name, text in zip(names, row[1:6], strict=True)},
        "trades": row[8],
    }


@pytest.mark.parametrize("symbol", ["BTCUSDT", "POWRUSDT", "MUTEUSDT", "NOVAUSDT"])
@pytest.mark.parametrize("interval", ["1m", "5m", "15m", "1h", "4h", "1d"])
async def test_klines_equal_the_truth(by_hand: Played, symbol: str, interval: str) -> None:
    by_hand.advance(3 * 60 * MINUTE + 20_000)
    step = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 1440}[interval] * MINUTE
    start = START - 100 * step
    reply = await by_hand.get(
        "binance", "/api/v3/klines", symbol=symbol, interval=interval, startTime=start, limit=1000
    )
    rows = reply.json()
    truth = await by_hand.truth("binance", symbol, interval, start, by_hand.now())
    closed = [row for row in rows if row[0] + step <= by_hand.now()]
    assert [of_kline(row) for row in closed] == truth
    # The open candle comes too.
    assert len(rows) == len(closed) + 1
    for row in rows:
        assert len(row) == 12
        assert row[6] == row[0] + step - 1
        assert all(len(text.partition(".")[2]) == 8 for text in (*row[1:6], row[7], row[9], row[10]))


async def test_klines_page_by_limit_and_edges(by_hand: Played) -> None:
    async def opens(**query: Any) -> list[int]:
        reply = await by_hand.get("binance", "/api/v3/klines", symbol="BTCUSDT", interval="5m", **query)
        return [row[0] for row in reply.json()]

    step, first = 5 * MINUTE, START - 600 * 5 * MINUTE
    assert await opens(startTime=first, limit=3) == [first, first + step, first + 2 * step]
    assert await opens(startTime=first, endTime=first + step) == [first, first + step]
    assert await opens(startTime=first + 1, endTime=first + step - 1) == []
    assert len(await opens(startTime=first)) == 500
    newest = await opens(limit=2)
    assert newest == [START - step, START]
    assert await opens(endTime=first, limit=2) == [first - step, first]
    assert await opens(startTime=START + 10 * step) == []
    # Before the listing there is nothing to count.
    listed = await by_hand.get(
        "binance", "/api/v3/klines", symbol="BTCUSDT", interval="1d", startTime=0, limit=2
    )
    assert len(listed.json()) == 2


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("klines", {"symbol": "NOPE", "interval": "1m"}, -1121),
        ("klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("klines", {"symbol": "BTCUSDT"}, -1102),
        ("klines", {"interval": "1m"}, -1102),
        ("klines", {"symbol": "btc/usdt", "interval": "1m"}, -1100),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "startTime": "x"}, -1100),
        ("ticker/24hr", {"symbols": "BTCUSDT"}, -1100),
        ("ticker/24hr", {"symbols": '["NOPE"]'}, -1121),
    ],
)
async def test_binance_refuses_with_its_own_codes(
    by_hand: Played, path: str, query: dict[str, str], code: int
) -> None:
    reply = await by_hand.get("binance", f"/api/v3/{path}", **query)
    assert reply.status_code == 400
    assert reply.json()["code"] == code
    assert "X-MBX-USED-WEIGHT-1M" in reply.headers


@pytest.mark.usefixtures("still_limits")
async def test_binance_weights_follow_what_is_asked(by_hand: Played) -> None:
    async def cost(name: str, path: str, **query: Any) -> int:
        before = int((await by_hand.get(name, "/api/v3/ping")).headers["X-MBX-USED-WEIGHT-1M"])
        after = int((await by_hand.get(name, path, **query)).headers["X-MBX-USED-WEIGHT-1M"])
        return after - before

    assert await cost("binance", "/api/v3/klines", symbol="BTCUSDT", interval="1m") == 2
    assert await cost("binance_us", "/api/v3/klines", symbol="BTCUSDT", interval="1m") == 1
    assert await cost("binance", "/api/v3/exchangeInfo") == 20
    assert await cost("binance_us", "/api/v3/exchangeInfo") == 10
    assert await cost("binance", "/api/v3/ticker/24hr", symbol="BTCUSDT") == 2
    assert await cost("binance", "/api/v3/ticker/24hr") == 80


@pytest.mark.usefixtures("still_limits")
async def test_too_much_weight_is_429_and_going_on_is_a_ban(by_hand: Played) -> None:
    await by_hand.order("binance", "settings", weight_limit=100, refusals=3, ban_s=30)
    seen = [
        await by_hand.get("binance", "/api/v3/ticker/24hr", symbols='["BTCUSDT","ETHUSDT"]')
        for _ in range(60)
    ]
    statuses = [reply.status_code for reply in seen]
    assert statuses[0] == 200
    assert 429 in statuses
    assert statuses[-1] == 418
    refused = seen[statuses.index(429)]
    assert refused.json()["code"] == -1003
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    banned = [reply for reply in seen if reply.status_code == 418]
    assert "IP banned until" in banned[0].json()["msg"]
    assert int(banned[-1].headers["Retry-After"]) > int(banned[0].headers["Retry-After"]) >= 29
    counters = await by_hand.control("binance", "counters")
    assert counters["http_429"] == statuses.count(429)
    assert counters["http_418"] == statuses.count(418)
    assert counters["requests_by_endpoint"]["tickers"] == 60


async def test_exchange_info_states_limits_and_filters(by_hand: Played) -> None:
    body = (await by_hand.get("binance_us", "/api/v3/exchangeInfo")).json()
    assert body["rateLimits"][0] == {
        "rateLimitType": "REQUEST_WEIGHT",
        "interval": "MINUTE",
        "intervalNum": 1,
        "limit": 1200,
    }
    assert {item["status"] for item in body["symbols"]} == {"TRADING", "BREAK"}
    tickers = (await by_hand.get("binance_us", "/api/v3/ticker/24hr")).json()
    assert {item["symbol"] for item in tickers} == {item["symbol"] for item in body["symbols"]}
    assert all(float(item["quoteVolume"]) > 0 for item in tickers)


# --- Coinbase ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("product", ["BTC-USD", "POWR-USD", "MUTE-USD", "NOVA-USD", "BTC-USDC"])
@pytest.mark.parametrize("granularity", GRANULARITIES)
async def test_coinbase_candles_equal_the_truth_newest_first(
    by_hand: Played, product: str, granularity: str
) -> None:
    by_hand.advance(3 * 60 * MINUTE + 50_000)
    minutes = GRANULARITIES[granularity]
    step = minutes * MINUTE
    now = by_hand.now()
    start = now - now % step - 200 * step
    reply = await by_hand.get(
        "coinbase",
        f"{COINBASE}/market/products/{product}/candles",
        start=start // 1000,
        end=now // 1000,
        granularity=granularity,
    )
    rows = reply.json()["candles"]
    opens = [int(row["start"]) * 1000 for row in rows]
    assert opens == sorted(opens, reverse=True)
    assert all(isinstance(text, str) for row in rows for text in row.values())
    timeframe = {1: "1m", 5: "5m", 15: "15m", 60: "1h", 240: "4h"}[minutes]
    truth = await by_hand.truth("coinbase", product, timeframe, start, now)
    closed = [row for row in reversed(rows) if int(row["start"]) * 1000 + step <= now]
    names = ("open", "high", "low", "close", "volume")
    assert [(int(row["start"]) * 1000, *(row[name] for name in names)) for row in closed] == [
        (row["open_ms"], *(row[name] for name in names)) for row in truth
    ]
    assert all(row["volume"] != "0" for row in rows)
    if product.startswith("BTC"):
        assert len(rows) == len(closed) + 1


async def test_coinbase_refuses_more_than_350_rows(by_hand: Played) -> None:
    path = f"{COINBASE}/market/products/BTC-USD/candles"
    end = START // 1000 - 1
    ask = {"end": end, "granularity": "FIVE_MINUTE"}
    fits = await by_hand.get("coinbase", path, start=START // 1000 - 350 * 300, **ask)
    assert len(fits.json()["candles"]) == 350
    over = await by_hand.get("coinbase", path, start=START // 1000 - 351 * 300, **ask)
    assert over.status_code == 400
    assert "less than 350" in over.json()["message"]


async def test_coinbase_four_hour_in_both_outcomes(by_hand: Played) -> None:
    query = {"start": START // 1000 - 86_400, "end": START // 1000, "granularity": "FOUR_HOUR"}
    path = f"{COINBASE}/market/products/BTC-USD/candles"
    granted = await by_hand.get("coinbase", path, **query)
    assert granted.status_code == 200
    assert granted.json()["candles"]
    await by_hand.order("coinbase", "settings", four_hour=False)
    refused = await by_hand.get("coinbase", path, **query)
    assert refused.status_code == 400
    assert refused.json()["message"] == "granularity argument is invalid"


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("market/products/NOPE-USD/candles", {"start": 1, "end": 2, "granularity": "ONE_MINUTE"}, 404),
        ("market/products/BTC-USD/candles", {"start": 1, "end": 2, "granularity": "3m"}, 400),
        ("market/products/BTC-USD/candles", {"end": 2, "granularity": "ONE_MINUTE"}, 400),
        ("market/products/BTC-USD/candles", {"start": "x", "end": 2, "granularity": "ONE_MINUTE"}, 400),
        ("market/products/NOPE-USD", {}, 404),
    ],
)
async def test_coinbase_refusals(by_hand: Played, path: str, query: dict[str, Any], status: int) -> None:
    reply = await by_hand.get("coinbase", f"{COINBASE}/{path}", **query)
    assert reply.status_code == status
    assert reply.json()["message"]


async def test_coinbase_wants_a_token_where_the_path_is_private(by_hand: Played) -> None:
    reply = await by_hand.get("coinbase", f"{COINBASE}/products")
    assert (reply.status_code, reply.text) == (401, "Unauthorized\n")


async def test_coinbase_products_page_and_name_aliases(by_hand: Played) -> None:
    everything = (await by_hand.get("coinbase", f"{COINBASE}/market/products")).json()["products"]
    pages: list[Any] = []
    while page := (
        await by_hand.get("coinbase", f"{COINBASE}/market/products", limit=15, offset=len(pages))
    ).json()["products"]:
        pages += page
    assert [item["product_id"] for item in pages] == [item["product_id"] for item in everything]
    products = {item["product_id"]: item for item in everything}
    assert products["BTC-USD"]["alias_to"] == ["BTC-USDC"]
    assert products["BTC-USDC"]["alias"] == "BTC-USD"
    assert products["LUNA-USD"]["trading_disabled"] is True
    single = (await by_hand.get("coinbase", f"{COINBASE}/market/products/BTC-USD")).json()
    assert single == products["BTC-USD"]


@pytest.mark.usefixtures("still_limits")
async def test_coinbase_gives_429_beyond_its_rate(by_hand: Played) -> None:
    replies = [await by_hand.get("coinbase", f"{COINBASE}/time") for _ in range(12)]
    assert [reply.status_code for reply in replies] == [200] * 10 + [429] * 2
    assert replies[-1].json()["errors"][0]["id"] == "rate_limit_exceeded"


# --- faults -----------------------------------------------------------------------------------------------
async def test_ordered_rest_faults_strike_and_end(by_hand: Played) -> None:
    async def kline() -> Any:
        return await by_hand.get("binance", "/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=3)

    honest = (await kline()).json()
    await by_hand.order("binance", kind="rate_limit", count=1)
    assert (await kline()).status_code == 429
    await by_hand.order("binance", kind="error_page", count=1)
    page = await kline()
    assert page.status_code == 503
    assert "<HTML>" in page.text
    await by_hand.order("binance", kind="late_row", count=1, symbol="BTCUSDT")
    assert [row[0] for row in (await kline()).json()] == [honest[0][0], honest[2][0]]
    await by_hand.order("binance", kind="revise", count=1)
    assert (await kline()).json()[1][5] != honest[1][5]
    await by_hand.order("binance", kind="skew", skew_ms=3000, count=1)
    skewed = (await by_hand.get("binance", "/api/v3/time")).json()["serverTime"]
    assert skewed == by_hand.now() + 3000
    assert (await kline()).json() == honest
    done = await by_hand.control("binance", "faults")
    assert [fault["done"] for fault in done] == [1] * 5
    assert not any(fault["active"] for fault in done)


@pytest.mark.usefixtures("still_limits")
async def test_weight_used_by_others_shows_in_the_header(by_hand: Played) -> None:
    await by_hand.order("binance", kind="foreign_weight", count=500)
    used = (await by_hand.get("binance", "/api/v3/ping")).headers["X-MBX-USED-WEIGHT-1M"]
    assert int(used) >= 501
