"""The vendors' own clients and our adapters read the same accounts of the simulator, both signed."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from livermore_dagster.market.trades import Fill, Order
from tests.integration.exchanges.conftest import Field
from tests.integration.exchanges.test_account_reads import Account, account

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.oracle


async def by_vendor(mine: Account, reader: str, environment: str, **task: object) -> dict[str, Any]:
    python = ROOT / environment / "bin" / "python"
    assert python.exists(), "make account-oracle-envs builds the environments of the vendors' clients"
    process = await asyncio.create_subprocess_exec(
        str(python),
        str(ROOT / "tests" / "oracle" / reader),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    credentials = mine.credentials
    told = {"url": mine.row.rest_url, "key": credentials.key, "secret": credentials.secret, **task}
    out, err = await process.communicate(json.dumps(told).encode())
    assert process.returncode == 0, err.decode()[-2000:]
    read: dict[str, Any] = json.loads(out)
    return read


def at_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def ours(fills: list[Fill]) -> dict[tuple[str, str], tuple[Any, ...]]:
    return {
        (f.symbol, f.fill_id): (
            f.order_id, f.side.value, f.price, f.fee, f.fee_currency, f.liquidity.value, f.filled_ms, f.value,
        )
        for f in fills
    }  # fmt: skip


def our_orders(orders: list[Order]) -> dict[tuple[str, str], tuple[Any, ...]]:
    return {
        (o.symbol, o.order_id): (
            o.side.value,
            o.status,
            o.order_type,
            o.filled_size,
            o.filled_value,
            o.created_ms,
        )
        for o in orders
    }


@pytest.mark.parametrize("name", ["coinbase"])
@pytest.mark.parametrize("key_type", ["es256", "ed25519"])
async def test_coinbase_advanced_py_reads_what_we_read(alone: Field, name: str, key_type: str) -> None:
    mine = await account(alone, name, key_type=key_type)
    read = await by_vendor(mine, "read_coinbase_account.py", ".venv-oracle-coinbase")
    theirs = {
        (f["product_id"], f["entry_id"]): (
            f["order_id"], f["side"], Decimal(f["price"]), Decimal(f["commission"]),
            mine.products[f["product_id"]].quote, f["liquidity_indicator"].lower(), at_ms(f["trade_time"]),
            Decimal(f["size"]) * (1 if f["size_in_quote"] else Decimal(f["price"])),
        )
        for f in read["fills"]
    }  # fmt: skip
    assert ours(await mine.fills()) == theirs
    assert len(theirs) > 450
    assert any(f["size_in_quote"] for f in read["fills"])
    orders = {
        (o["product_id"], o["order_id"]): (
            o["side"], o["status"], o["order_type"], Decimal(o["filled_size"]), Decimal(o["filled_value"]),
            at_ms(o["created_time"]),
        )
        for o in read["orders"]
    }  # fmt: skip
    assert our_orders(await mine.orders()) == orders
    assert len(orders) == 450
    held = {a["currency"]: a for a in read["accounts"]}
    for balance in await mine.client.balances():
        assert balance.available == Decimal(held[balance.currency]["available_balance"]["value"])
        assert balance.hold == Decimal(held[balance.currency]["hold"]["value"])
    tier = await mine.client.fee_tier()
    told = read["tier"]["fee_tier"]
    assert (tier.maker_rate, tier.taker_rate) == (
        Decimal(told["maker_fee_rate"]), Decimal(told["taker_fee_rate"]),
    )  # fmt: skip
    # That client reads floats.
    assert float(tier.fees_30d or 0) == read["tier"]["total_fees"]
    await mine.client.close()


@pytest.mark.parametrize("name", ["binance", "binance_us"])
async def test_binance_connector_reads_what_we_read(alone: Field, name: str) -> None:
    mine = await account(alone, name, orders=1200, symbols=1)
    markets = await mine.markets()
    by_market = name == "binance"
    read = await by_vendor(
        mine, "read_binance_account.py", ".venv-oracle-binance", markets=markets, commission=by_market
    )
    theirs = {
        (f["symbol"], str(f["id"])): (
            str(f["orderId"]), "BUY" if f["isBuyer"] else "SELL", Decimal(f["price"]),
            Decimal(f["commission"]), f["commissionAsset"], "maker" if f["isMaker"] else "taker", f["time"],
            Decimal(f["quoteQty"]),
        )
        for f in read["fills"]
    }  # fmt: skip
    assert ours(await mine.fills()) == theirs
    assert len(theirs) > 1200
    orders = {
        (o["symbol"], str(o["orderId"])): (
            o["side"], o["status"], o["type"], Decimal(o["executedQty"]), Decimal(o["cummulativeQuoteQty"]),
            o["time"],
        )
        for o in read["orders"]
    }  # fmt: skip
    assert our_orders(await mine.orders()) == orders
    assert len(orders) == 1200
    for market in markets:
        tier = await mine.client.fee_tier(market)
        rates = read["commission"][market] if by_market else read["account"]
        told = rates["standardCommission" if by_market else "commissionRates"]
        assert (tier.maker_rate, tier.taker_rate) == (Decimal(told["maker"]), Decimal(told["taker"]))
    held = {b["asset"]: (Decimal(b["free"]), Decimal(b["locked"])) for b in read["account"]["balances"]}
    assert {b.currency: (b.available, b.hold) for b in await mine.client.balances()} == {
        asset: amounts for asset, amounts in held.items() if any(amounts)
    }
    await mine.client.close()
