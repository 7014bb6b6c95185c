"""Accounts read over HTTP: who is let in, what pages hold, how faults look, what a live trade does."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from livermore_dagster.simulator.accounts import KeyType
from livermore_dagster.simulator.server import Simulator
from tests.integration.simulator.played import START, Played
from tests.integration.simulator.signing import Signer, token

SUMMARY = "/api/v3/brokerage/transaction_summary"
ACCOUNT = "/api/v3/account"


async def truth(played: Played, exchange: str, part: str, account: str = "demo") -> Any:
    return (await played.control(exchange, "account-truth", account=account, part=part))[part]


# --- who is let in ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("key_type", KeyType)
async def test_coinbase_lets_in_who_signed_with_either_kind_of_key(
    by_hand: Played, key_type: KeyType
) -> None:
    await by_hand.order("coinbase", "accounts", account="mine", orders=3, symbols=2, key_type=key_type.value)
    reply = await Signer(by_hand, "coinbase", "mine", key_type).get("key_permissions")
    assert reply.json()["can_view"] is True


FORGED: dict[str, dict[str, Any]] = {
    "another request": {"uri": "GET api.coinbase.com/api/v3/brokerage/transaction_summary"},
    "another method": {"uri": "POST {host}/api/v3/brokerage/transaction_summary"},
    "with its query": {"uri": "GET {host}/api/v3/brokerage/transaction_summary?limit=1"},
    "no request": {"uri": None},
    "another issuer": {"iss": "coinbase-cloud"},
    "another subject": {"sub": "organizations/x/apiKeys/y"},
    "another key": {"header_kid": "organizations/x/apiKeys/y"},
    "no nonce": {"header_nonce": ""},
    "expired": {"nbf": -300, "exp": -180},  # seconds from when it is signed
    "not yet valid": {"nbf": 3600, "exp": 3720},
    "valid for too long": {"exp": 1200},
    "no beginning": {"nbf": None},
}


@pytest.mark.parametrize("why", FORGED)
async def test_coinbase_refuses_a_token_that_does_not_hold(by_hand: Played, why: str) -> None:
    signer, claims = Signer(by_hand, "coinbase"), dict(FORGED[why])
    if claims.get("uri"):
        claims["uri"] = claims["uri"].format(host=signer.host)
    claims |= {name: int(time.time()) + claims[name] for name in ("nbf", "exp") if claims.get(name)}
    reply = await signer.bearing(SUMMARY, signer.token_for(SUMMARY, **claims))
    assert (reply.status_code, reply.text) == (401, "Unauthorized\n")
    # And it was this that was wrong: the same without it is let in.
    assert (await signer.bearing(SUMMARY, signer.token_for(SUMMARY))).status_code == 200


async def test_coinbase_refuses_a_strangers_signature(by_hand: Played) -> None:
    signer = Signer(by_hand, "coinbase")
    stranger = Signer(by_hand, "coinbase", "stranger")
    forged = token(signer.key, stranger.secret, f"GET {signer.host}{SUMMARY}")
    for bearer in (forged, stranger.token_for(SUMMARY), "nonsense"):
        assert (await signer.bearing(SUMMARY, bearer)).status_code == 401


def code_of(reply: httpx.Response) -> tuple[int, int]:
    return reply.status_code, reply.json()["code"]


async def test_binance_refuses_what_is_not_signed_right(by_hand: Played) -> None:
    signer = Signer(by_hand, "binance")
    good, now = signer.signed(), int(time.time() * 1000)
    assert (await signer.asking(ACCOUNT, good)).status_code == 200
    assert code_of(await signer.asking(ACCOUNT, good, key="")) == (401, -2014)
    assert code_of(await signer.asking(ACCOUNT, good, key="x" * 64)) == (401, -2015)
    assert code_of(await signer.asking(ACCOUNT, f"{good[:-1]}{'0' if good[-1] != '0' else '1'}")) == (
        400,
        -1022,
    )
    assert code_of(await signer.asking(ACCOUNT, f"omitZeroBalances=true&{good}")) == (400, -1022)
    assert code_of(await signer.asking(ACCOUNT, f"{good}&omitZeroBalances=true")) == (400, -1022)
    assert code_of(await signer.asking(ACCOUNT, f"timestamp={now}")) == (400, -1102)
    assert code_of(await signer.asking(ACCOUNT, "signature=00")) == (400, -1102)
    for late in (now - 6_000, now + 60_000):
        assert code_of(await signer.get(ACCOUNT, timestamp=late)) == (400, -1021)
    assert (await signer.get(ACCOUNT, timestamp=now - 20_000, recvWindow=60_000)).status_code == 200
    assert code_of(await signer.get(ACCOUNT, recvWindow=60_001)) == (400, -1131)
    assert code_of(await signer.get("/api/v3/myTrades")) == (400, -1102)
    assert code_of(await signer.get("/api/v3/myTrades", symbol="NOPE")) == (400, -1121)


async def test_a_skewed_clock_judges_signatures_too(by_hand: Played) -> None:
    binance, coinbase = Signer(by_hand, "binance_us"), Signer(by_hand, "coinbase")
    await by_hand.order("binance_us", kind="skew", skew_ms=-60_000, duration_s=300)
    await by_hand.order("coinbase", kind="skew", skew_ms=200_000, duration_s=300)
    assert code_of(await binance.get(ACCOUNT)) == (400, -1021)
    assert (await coinbase.get("accounts")).status_code == 401
    assert (await binance.get(ACCOUNT, timestamp=int(time.time() * 1000) - 60_000)).status_code == 200


@pytest.mark.parametrize("exchange", ["binance", "binance_us", "coinbase"])
async def test_revoked_keys_are_refused(by_hand: Played, exchange: str) -> None:
    signer = Signer(by_hand, exchange)
    path = "accounts" if exchange == "coinbase" else ACCOUNT
    await by_hand.order(exchange, kind="revoke_key", count=1)
    assert (await signer.get(path)).status_code == 401
    assert (await signer.get(path)).status_code == 200


# --- pages ------------------------------------------------------------------------------------------------
async def all_of_coinbase(signer: Signer, path: str, name: str, **query: Any) -> tuple[list[Any], list[Any]]:
    rows: list[Any] = []
    pages: list[Any] = []
    cursor = ""
    while True:
        page = (await signer.get(path, cursor=cursor, **query)).json()
        pages.append(page)
        rows += page[name]
        cursor = page["cursor"]
        if not page.get("has_next", cursor):
            return rows, pages


async def test_coinbase_pages_hold_the_whole_truth(by_hand: Played) -> None:
    signer = Signer(by_hand, "coinbase")
    orders, pages = await all_of_coinbase(signer, "orders/historical/batch", "orders", limit=500)
    # 1,500 orders are three full pages, and an empty one that tells the end.
    assert [len(page["orders"]) for page in pages] == [500, 500, 500, 0]
    assert (pages[-1]["has_next"], pages[-1]["cursor"]) == (False, "")
    fills, pages = await all_of_coinbase(signer, "orders/historical/fills", "fills", limit=700)
    assert all("has_next" not in page for page in pages)
    known = {order["order_id"]: order for order in await truth(by_hand, "coinbase", "orders")}
    assert len(orders) == len(known)
    for order in orders:
        true = known[order["order_id"]]
        assert order["fee"] == ""
        assert order["product_id"] == true["symbol"]
        for name, wire in (("filled_size",) * 2, ("filled_value",) * 2, ("fee", "total_fees")):
            assert Decimal(order[wire]) == Decimal(true[name]), order
    assert [order["created_time"] for order in orders] == sorted(
        (order["created_time"] for order in orders), reverse=True
    )
    true_fills = {fill["fill_id"]: fill for fill in await truth(by_hand, "coinbase", "fills")}
    assert {fill["entry_id"] for fill in fills} == set(true_fills)
    assert len(fills) == len(true_fills)
    in_quote = [fill for fill in fills if fill["size_in_quote"]]
    assert in_quote
    for fill in fills:
        true = true_fills[fill["entry_id"]]
        assert Decimal(fill["size"]) == Decimal(true["value" if fill["size_in_quote"] else "size"])
        assert Decimal(fill["commission"]) == Decimal(true["fee"])
        assert fill["liquidity_indicator"] == true["liquidity"].upper()


async def test_coinbase_filters(by_hand: Played) -> None:
    signer = Signer(by_hand, "coinbase")
    orders, _ = await all_of_coinbase(signer, "orders/historical/batch", "orders", limit=1000)
    chosen = [o for o in orders if o["product_id"] == "BTC-USDC" and o["status"] == "FILLED"]
    found, _ = await all_of_coinbase(
        signer, "orders/historical/batch", "orders", product_ids="BTC-USDC", order_status="FILLED"
    )
    assert found == chosen
    assert chosen
    start = orders[40]["created_time"]
    late, _ = await all_of_coinbase(signer, "orders/historical/batch", "orders", start_date=start)
    assert late == orders[:41]
    one = next(order for order in chosen if order["number_of_fills"] > "1")
    fills, _ = await all_of_coinbase(
        signer, "orders/historical/fills", "fills", order_ids=one["order_id"], limit=1
    )
    assert str(len(fills)) == one["number_of_fills"]
    single = (await signer.get(f"orders/historical/{one['order_id']}")).json()["order"]
    assert single == one
    assert (await signer.get(f"orders/historical/{one['client_order_id']}")).status_code == 404
    assert (await signer.get("orders/historical/batch", cursor="x")).status_code == 400


async def test_coinbase_tells_tier_and_wallets(by_hand: Played) -> None:
    signer = Signer(by_hand, "coinbase")
    summary, tier = (await signer.get("transaction_summary")).json(), await truth(by_hand, "coinbase", "tier")
    assert summary["fee_tier"]["pricing_tier"] == tier["name"]
    assert summary["fee_tier"]["maker_fee_rate"] == tier["maker_rate"]
    assert isinstance(summary["total_volume"], float)
    assert summary["total_volume"] == float(tier["volume_30d"])
    wallets, _ = await all_of_coinbase(signer, "accounts", "accounts", limit=7)
    told = {
        w["currency"]: (Decimal(w["available_balance"]["value"]), Decimal(w["hold"]["value"]))
        for w in wallets
    }
    true = await truth(by_hand, "coinbase", "balances")
    assert told == {b["currency"]: (Decimal(b["available"]), Decimal(b["hold"])) for b in true}
    assert any(hold for _, hold in told.values())


@pytest.mark.parametrize("exchange", ["binance", "binance_us"])
async def test_binance_trades_are_read_by_number_and_by_time(by_hand: Played, exchange: str) -> None:
    signer = Signer(by_hand, exchange)
    true = [fill for fill in await truth(by_hand, exchange, "fills") if fill["symbol"] == "BTCUSDT"]
    rows: list[Any] = []
    start = 0
    while page := (await signer.get("/api/v3/myTrades", symbol="BTCUSDT", fromId=start, limit=90)).json():
        rows += page
        start = page[-1]["id"] + 1
    assert [str(row["id"]) for row in rows] == [fill["fill_id"] for fill in true]
    for row, fill in zip(rows, true, strict=True):
        for name, wire in (("price", "price"), ("size", "qty"), ("value", "quoteQty"), ("fee", "commission")):
            assert Decimal(row[wire]) == Decimal(fill[name])
        assert (row["commissionAsset"], row["time"]) == (fill["fee_currency"], fill["at_ms"])
        assert (row["isBuyer"], row["isMaker"]) == (fill["side"] == "BUY", fill["liquidity"] == "maker")
    at = rows[50]["time"]
    day = (
        await signer.get("/api/v3/myTrades", symbol="BTCUSDT", startTime=at, endTime=at + 86_400_000)
    ).json()
    assert day == [row for row in rows if at <= row["time"] <= at + 86_400_000]
    newest = (await signer.get("/api/v3/myTrades", symbol="BTCUSDT", limit=5)).json()
    assert newest == rows[-5:]
    of_order = (await signer.get("/api/v3/myTrades", symbol="BTCUSDT", orderId=rows[50]["orderId"])).json()
    assert of_order == [row for row in rows if row["orderId"] == rows[50]["orderId"]]
    assert code_of(
        await signer.get("/api/v3/myTrades", symbol="BTCUSDT", startTime=at, endTime=at + 86_400_001)
    ) == (400, -1127)
    assert code_of(await signer.get("/api/v3/myTrades", symbol="BTCUSDT", startTime=at, fromId=1)) == (
        400,
        -1128,
    )


async def test_binance_orders_balances_and_commission(by_hand: Played) -> None:
    signer = Signer(by_hand, "binance")
    orders = (await signer.get("/api/v3/allOrders", symbol="ETHUSDT", orderId=1, limit=1000)).json()
    true = [order for order in await truth(by_hand, "binance", "orders") if order["symbol"] == "ETHUSDT"]
    assert [str(order["orderId"]) for order in orders] == [order["order_id"] for order in true]
    for order, known in zip(orders, true, strict=True):
        assert Decimal(order["executedQty"]) == Decimal(known["filled_size"])
        assert Decimal(order["cummulativeQuoteQty"]) == Decimal(known["filled_value"])
    assert {order["status"] for order in orders} >= {"FILLED", "CANCELED"}
    balances = {b["asset"]: b for b in (await signer.get(ACCOUNT)).json()["balances"]}
    for known in await truth(by_hand, "binance", "balances"):
        assert Decimal(balances[known["currency"]]["free"]) == Decimal(known["available"])
        assert Decimal(balances[known["currency"]]["locked"]) == Decimal(known["hold"])
    commission = (await signer.get("/api/v3/account/commission", symbol="ETHUSDT")).json()
    assert commission["standardCommission"]["taker"] == "0.00100000"
    assert commission["discount"]["discountAsset"] == "BNB"


@pytest.mark.usefixtures("still_limits")
async def test_signed_requests_count_in_the_addresses_weight(by_hand: Played) -> None:
    signer = Signer(by_hand, "binance")
    weights = []
    for path, query in (
        ("/api/v3/myTrades", {"symbol": "BTCUSDT"}),
        ("/api/v3/myTrades", {"symbol": "BTCUSDT", "orderId": 1}),
        ("/api/v3/allOrders", {"symbol": "BTCUSDT"}),
        (ACCOUNT, {}),
        ("/api/v3/account/commission", {"symbol": "BTCUSDT"}),
    ):
        reply = await signer.get(path, **query)
        assert reply.status_code == 200
        weights.append(int(reply.headers["X-MBX-USED-WEIGHT-1M"]))
    assert [b - a for a, b in zip([0, *weights], weights, strict=False)] == [20, 5, 20, 20, 20]
    await by_hand.order("binance", "settings", weight_limit=weights[-1] + 10)
    assert code_of(await signer.get(ACCOUNT)) == (429, -1003)


async def test_coinbase_lets_each_key_ask_thirty_times_a_second(by_hand: Played) -> None:
    signer = Signer(by_hand, "coinbase")
    statuses = [(await signer.get("key_permissions")).status_code for _ in range(31)]
    assert statuses.count(200) >= 30
    reply = await signer.get("key_permissions")
    assert reply.headers["x-ratelimit-limit"] == "30"


# --- faults of pages --------------------------------------------------------------------------------------
async def test_the_third_page_fails_and_then_comes(by_hand: Played) -> None:
    signer = Signer(by_hand, "coinbase")
    for how in ("error", "cut"):
        await by_hand.order("coinbase", kind="fail_page", how=how, skip=2, count=1)
        for _ in range(2):
            assert (await signer.get("orders/historical/fills", limit=5)).status_code == 200
        if how == "cut":
            with pytest.raises(httpx.RemoteProtocolError):
                await signer.get("orders/historical/fills", limit=5)
        else:
            assert (await signer.get("orders/historical/fills", limit=5)).status_code == 500
        assert len((await signer.get("orders/historical/fills", limit=5)).json()["fills"]) == 5


async def test_a_page_that_never_comes(by_hand: Played) -> None:
    signer = Signer(by_hand, "binance_us")
    await by_hand.order("binance_us", kind="fail_page", how="hang", count=1)
    by_hand.http.timeout = httpx.Timeout(0.3)
    with pytest.raises(httpx.ReadTimeout):
        await signer.get("/api/v3/myTrades", symbol="BTCUSDT")


async def test_a_cursor_repeats_and_a_page_comes_twice(by_hand: Played) -> None:
    signer = Signer(by_hand, "coinbase")
    path = "orders/historical/batch"
    first = (await signer.get(path, limit=10)).json()
    await by_hand.order("coinbase", kind="repeat_cursor", count=1)
    second = (await signer.get(path, limit=10, cursor=first["cursor"])).json()
    assert second["cursor"] == first["cursor"]
    await by_hand.order("coinbase", kind="repeat_page", count=1)
    assert (await signer.get(path, limit=10, cursor="700")).json() == second
    assert (await signer.get(path, limit=10, cursor="700")).json() != second


async def test_orders_change_between_pages_and_no_page_shifts(by_hand: Played) -> None:
    signer = Signer(by_hand, "coinbase")
    before, _ = await all_of_coinbase(signer, "orders/historical/batch", "orders", limit=400)
    await by_hand.order("coinbase", kind="change_order", count=2)
    during, _ = await all_of_coinbase(signer, "orders/historical/batch", "orders", limit=400)
    assert [o["order_id"] for o in during] == [o["order_id"] for o in before]
    after, _ = await all_of_coinbase(signer, "orders/historical/batch", "orders", limit=400)
    assert len(after) == len(before) + 2
    statuses = [[o["status"] for o in rows].count("OPEN") for rows in (before, after)]
    assert statuses[0] - statuses[1] == 2


async def test_too_many_requests_on_account_reads_alone(by_hand: Played) -> None:
    signer = Signer(by_hand, "coinbase")
    await by_hand.order("coinbase", kind="rate_limit", endpoint="account", count=1)
    assert (await by_hand.get("coinbase", "/api/v3/brokerage/time")).status_code == 200
    assert (await signer.get("accounts")).status_code == 429
    assert (await signer.get("accounts")).status_code == 200


# --- the door ---------------------------------------------------------------------------------------------
async def test_an_account_is_made_to_measure(by_hand: Played) -> None:
    made = await by_hand.order("binance", "accounts", account="big", orders=700, symbols=30, days=100)
    assert made["drawn"] is False
    signer = Signer(by_hand, "binance", "big")
    assert (made["key"], made["secret"]) == (signer.key, signer.secret)
    assert len(await truth(by_hand, "binance", "orders", "big")) == 700
    known = {one["account"]: one for one in (await by_hand.control("binance", "accounts"))["accounts"]}
    assert (known["big"]["orders"], known["big"]["drawn"], known["demo"]["drawn"]) == (700, True, False)


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("accounts", {"account": "demo"}, "exists"),
        ("accounts", {"account": "a b"}, "letters"),
        ("accounts", {"account": "x", "symbols": 140}, "more --symbols"),
        ("accounts", {"account": "x", "orders": -1}, "orders must be"),
        ("accounts", {"account": "x", "key_type": "rsa"}, "rsa"),
        ("accounts", {"account": "x", "size": 1}, "unknown fields"),
        ("fill", {"account": "nobody", "symbol": "BTC-USD", "side": "BUY"}, "nobody"),
        ("fill", {"account": "demo", "symbol": "BTC-USD", "side": "LONG"}, "LONG"),
        ("fill", {"account": "demo", "symbol": "BTC-USD", "side": "BUY", "size": "x"}, "size"),
        ("fill", {"account": "demo", "symbol": "BTC-USD", "side": "BUY", "trade_type": "GIFT"}, "SYNTHETIC"),
        ("fill", {"account": "demo", "symbol": "BTC-USD", "side": "BUY", "size": "9999999"}, "insufficient"),
    ],
)
async def test_the_door_says_what_is_wrong(
    by_hand: Played, path: str, body: dict[str, Any], text: str
) -> None:
    reply = await by_hand.http.post(f"{by_hand.simulator.control_url('coinbase')}/{path}", json=body)
    assert reply.status_code == 400
    assert text in json.loads(reply.text)["error"]


async def test_what_happened_is_remembered_by_the_next_start(tmp_path: Path) -> None:
    async def told(*, trading: bool) -> list[Any]:
        async with (
            Simulator(
                ["binance", "coinbase"],
                seed=7,
                start_ms=START,
                anchor=tmp_path / "market.json",
                symbols=20,
            ) as played,
            httpx.AsyncClient(timeout=60) as http,
        ):
            client = Played(played, http)
            if trading:
                await client.order("binance", "accounts", account="mine", orders=40, symbols=6)
                await client.order("binance", "fill", account="mine", symbol="ETHUSDT", side="BUY")
                await client.order("binance", kind="change_order", count=1)
                await Signer(client, "binance").get("/api/v3/myTrades", symbol="BTCUSDT")
                await client.order("coinbase", "accounts", account="mine", orders=40, symbols=6)
                odd = {"symbol": "BTC-USD", "side": "BUY", "trade_type": "REVERSAL"}
                await client.order("coinbase", "fill", account="mine", **odd)
            fills = await truth(client, "coinbase", "fills", "mine")
            assert [one["trade_type"] for one in fills].count("REVERSAL") == 1
            names = ("orders", "fills", "balances")
            return [await truth(client, "binance", part, who) for who in ("demo", "mine") for part in names]

    before = await told(trading=True)
    with (tmp_path / "market.binance.accounts.jsonl").open("a") as journal:
        journal.write('{"what": "trade", "acc')  # a kill in the middle of a line
    assert await told(trading=False) == before
