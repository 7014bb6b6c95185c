"""A live trade reaches those who listen to the account, and nobody else."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.integration.simulator.played import Played
from tests.integration.simulator.signing import Signer, token


def orders_of(frame: Any) -> list[Any]:
    return [order for event in frame["events"] for order in event["orders"]]


async def test_coinbase_sends_open_orders_then_every_change(by_hand: Played) -> None:
    signer = Signer(by_hand, "coinbase")
    async with by_hand.socket("coinbase") as socket:
        bearer = token(signer.key, signer.secret)
        await socket.say({"type": "subscribe", "channel": "user", "jwt": bearer})
        ack = await socket.until(lambda frame: frame["channel"] == "subscriptions")
        assert list(ack["events"][0]["subscriptions"]) == ["user"]
        snapshot = await socket.until(lambda frame: frame["channel"] == "user")
        assert snapshot["events"][0]["type"] == "snapshot"
        assert {order["status"] for order in orders_of(snapshot)} == {"OPEN"}
        made = await by_hand.order("coinbase", "fill", account="demo", symbol="BTC-USDC", side="BUY")
        done = await socket.until(
            lambda frame: frame["channel"] == "user" and orders_of(frame)[0]["status"] == "FILLED"
        )
        order = orders_of(done)[0]
        assert order["order_id"] == made["order"]["order_id"]
        assert order["product_id"] == "BTC-USDC"
        assert order["cumulative_quantity"] == made["fill"]["size"]
        assert order["total_fees"] == made["fill"]["fee"]
        numbers = [frame["sequence_num"] for frame in socket.frames]
        assert numbers == list(range(len(numbers)))
    newest = (await signer.get("orders/historical/fills", limit=1)).json()["fills"][0]
    assert newest["entry_id"] == made["fill"]["fill_id"]


@pytest.mark.parametrize("why", ["no token", "a request's token", "expired"])
async def test_coinbase_tells_a_stranger_only_that(by_hand: Played, why: str) -> None:
    signer, now = Signer(by_hand, "coinbase"), int(time.time())
    bearer = {
        "no token": "",
        "a request's token": token("organizations/x/apiKeys/y", signer.secret),
        "expired": token(signer.key, signer.secret, nbf=now - 300, exp=now - 180),
    }[why]
    async with by_hand.socket("coinbase") as socket:
        await socket.say({"type": "subscribe", "channel": "user", "jwt": bearer})
        assert await socket.until(lambda _: True) == {"type": "error", "message": "authentication failure"}


async def test_binance_subscribes_by_signature_over_its_websocket_interface(by_hand: Played) -> None:
    signer, other = Signer(by_hand, "binance"), "other"
    await by_hand.order("binance", "accounts", account=other, orders=40, symbols=5)
    async with by_hand.socket("binance", "/ws-api/v3") as socket:
        params: dict[str, Any] = {"apiKey": signer.key, "timestamp": int(time.time() * 1000)}
        text = "&".join(f"{name}={params[name]}" for name in sorted(params))
        asked = {"id": "a", "method": "userDataStream.subscribe.signature"}
        await socket.say({**asked, "params": {**params, "signature": "0" * 64}})
        assert (await socket.until(lambda _: True))["error"]["code"] == -1022
        await socket.say({**asked, "params": {**params, "signature": signer.signature(text)}})
        answer = await socket.until(lambda _: True)
        assert (answer["id"], answer["status"], answer["result"]) == ("a", 200, {"subscriptionId": 0})
        await by_hand.order("binance", "fill", account=other, symbol="BTCUSDT", side="BUY")
        made = await by_hand.order("binance", "fill", account="demo", symbol="BTCUSDT", side="BUY")
        frame = await socket.until(lambda frame: frame.get("event", {}).get("x") == "TRADE")
        assert frame["subscriptionId"] == 0
        report = frame["event"]
        assert (str(report["t"]), str(report["i"])) == (made["fill"]["fill_id"], made["order"]["order_id"])
        assert report["n"].rstrip("0") == made["fill"]["fee"]
        position = await socket.until(lambda frame: frame["event"]["e"] == "outboundAccountPosition")
        assert {balance["a"] for balance in position["event"]["B"]} == {"BTC", "USDT"}
    gone = await by_hand.http.post(f"{by_hand.simulator.rest_url('binance')}/api/v3/userDataStream")
    assert gone.status_code == 410


async def test_binance_us_streams_by_listen_keys(by_hand: Played) -> None:
    signer = Signer(by_hand, "binance_us")
    url = f"{by_hand.simulator.rest_url('binance_us')}/api/v3/userDataStream"
    headers = {"X-MBX-APIKEY": signer.key}

    async def ask(method: str, key: str = "") -> Any:
        query = {"listenKey": key} if key else {}
        return (await by_hand.http.request(method, url, params=query, headers=headers)).json()

    key = (await ask("POST"))["listenKey"]
    assert await ask("POST") == {"listenKey": key}
    assert await ask("PUT", key) == {}
    assert (await ask("PUT", "nonsense"))["code"] == -1125
    async with by_hand.socket("binance_us", f"/ws/{key}") as socket:
        made = await by_hand.order("binance_us", "fill", account="demo", symbol="ETHUSDT", side="SELL")
        report = await socket.until(lambda frame: frame.get("x") == "TRADE")
        assert str(report["t"]) == made["fill"]["fill_id"]
        await by_hand.order("binance_us", "settings", listen_key_s=0.05)
        assert await ask("PUT", key) == {}
        expired = await socket.until(lambda frame: frame["e"] == "listenKeyExpired")
        assert expired["listenKey"] == key
    assert (await ask("PUT", key))["code"] == -1125
    assert (await ask("POST"))["listenKey"] != key


async def test_an_update_that_is_lost_leaves_a_hole_in_the_numbers(by_hand: Played) -> None:
    signer = Signer(by_hand, "coinbase")
    async with by_hand.socket("coinbase") as socket:
        await socket.say({"type": "subscribe", "channel": "user", "jwt": token(signer.key, signer.secret)})
        snapshot = await socket.until(lambda frame: frame["channel"] == "user")
        await by_hand.order("coinbase", kind="lose", channel="user", count=2)
        for _ in range(2):
            made = await by_hand.order("coinbase", "fill", account="demo", symbol="BTC-USD", side="BUY")
        update = await socket.until(lambda frame: frame["channel"] == "user")
        assert orders_of(update)[0]["order_id"] == made["order"]["order_id"]
        assert update["sequence_num"] == snapshot["sequence_num"] + 3
