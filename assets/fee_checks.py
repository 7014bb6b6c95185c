"""Checks of an account's trades: groupings and orders agree with fills, no page lost, currencies known."""

# Annotations are not postponed here: Dagster compares that of `context` as it stands.

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.cells import table
from livermore_dagster.audit.verdict import Row
from livermore_dagster.market.moments import utc_text
from livermore_dagster.resources import AccountResource

if TYPE_CHECKING:
    from livermore_dagster.trades.session import StoredAccount

__all__ = ["fee_checks"]

Verdict = tuple[bool, dict[str, Any]]
Judge = Callable[["StoredAccount"], Awaitable[Verdict]]


async def groupings_agree(stored: "StoredAccount") -> Verdict:
    from livermore_dagster.market.decimals import exact
    from livermore_dagster.stores.postgres.fills import sum_fills
    from livermore_dagster.trades.reports import make_fee_report

    async with stored.pool.connection() as connection, connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        report = await make_fee_report(connection, stored.account, stored.clock.now_ms())
        straight = await sum_fills(connection, stored.account.id)
    rows: list[Row] = []
    for name in ("by_symbol", "by_side", "by_month", "totals"):
        for sums in straight:
            lines = [line for line in getattr(report, name) if line.quote == sums.quote]
            with exact():
                volume, fees = sum(line.volume for line in lines), sum(line.fees for line in lines)
            fills, orders = sum(line.fills for line in lines), sum(line.orders for line in lines)
            same_orders = name == "by_month" or orders == sums.orders
            if (fills, volume, fees) != (sums.fills, sums.volume, sums.fees) or not same_orders:
                rows.append(
                    {
                        "grouping": name,
                        "currency": sums.quote,
                        "fees": f"{fees:f}",
                        "of the fills": f"{sums.fees:f}",
                    }
                )
    return not rows, {
        "fills": report.fills,
        "currencies": ", ".join(sums.quote for sums in straight),
        "groupings that differ": len(rows),
        "differences": table(rows),
    }


async def orders_agree(stored: "StoredAccount") -> Verdict:
    from livermore_dagster.stores.postgres.orders import find_differences

    async with stored.pool.connection() as connection:
        found = await find_differences(connection, stored.account.id)
    rows: list[Row] = [
        {
            "symbol": one.symbol,
            "order": one.order_id,
            "difference": one.difference,
            "order's size": str(one.order_size),
            "fills' size": str(one.fills_size),
            "order's value": str(one.order_value),
            "fills' value": str(one.fills_value),
            "order's fee": str(one.order_fee),
            "fills' fee": str(one.fills_fee),
        }
        for one in found
    ]
    return not rows, {"orders that differ (at most 50 shown)": len(rows), "first 50": table(rows)}


async def no_page_lost(stored: "StoredAccount") -> Verdict:
    """What the pages brought as new is what is stored, and each list was read until the exchange ended it."""
    from livermore_dagster.stores.postgres.account_reads import read_progress, unread
    from livermore_dagster.stores.postgres.orders import count_trades

    async with stored.pool.connection() as connection, connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reads = await read_progress(connection, stored.account.id)
        orders, fills = await count_trades(connection, stored.account.id)
    brought = {
        kind: sum(one.rows_new for one in reads.values() if one.kind == kind) for kind in ("orders", "fills")
    }
    lacking = unread(reads, stored.account.markets)
    rows: list[Row] = [
        {
            "kind": one.kind,
            "market": one.market or "all",
            "pages": one.pages,
            "rows received": one.rows_received,
            "rows new": one.rows_new,
            "read to the end": "yes" if one.complete else "no",
            "at (UTC)": utc_text(one.updated_ms),
        }
        for one in reads.values()
    ]
    passed = not lacking and brought == {"orders": orders, "fills": fills}
    return passed, {
        "orders stored": orders,
        "fills stored": fills,
        "not read to the end": ", ".join(f"{kind} {market or 'of all'}" for kind, market in lacking),
        "reads": table(rows),
    }


async def currencies_known(stored: "StoredAccount") -> Verdict:
    from livermore_dagster.stores.postgres.fills import priceless_fees

    async with stored.pool.connection() as connection:
        found = await priceless_fees(connection, stored.account.id)
    rows: list[Row] = [
        {"currency": one.currency, "fills": one.fills, "fees": f"{one.amount:f}", "why": one.reason}
        for one in found
    ]
    return not rows, {
        "fills whose fee has no known price": sum(one.fills for one in found),
        "fees": table(rows),
    }


async def none_set_aside(stored: "StoredAccount") -> Verdict:
    from livermore_dagster.stores.postgres.aside_entries import count_aside_entries, read_aside_entries

    async with stored.pool.connection() as connection:
        counts = await count_aside_entries(connection, stored.account.id)
        found = await read_aside_entries(connection, stored.account.id, 50)
    rows: list[Row] = [
        {
            "symbol": one.symbol,
            "trade type": one.trade_type,
            "order": one.order_id,
            "at (UTC)": utc_text(one.traded_ms),
            "side": one.side,
            "price": one.price,
            "size": one.size,
            "commission": one.commission,
        }
        for one in found
    ]
    return not found, {"entries in no sum": sum(counts.values()), **counts, "newest 50": table(rows)}


_CHECKS: dict[tuple[str, ...], dict[str, tuple[Judge, str]]] = {
    ("fills",): {
        "no_page_lost": (
            no_page_lost,
            "every list was read to the end the exchange told, and what its pages brought is what is stored.",
        ),
        "currencies_known": (
            currencies_known,
            "every fee has a currency and a price in the fill's quote currency.",
        ),
        "none_set_aside": (
            none_set_aside,
            "the exchange lists nothing but plain fills; what else it lists is kept, and is in no sum.",
        ),
    },
    ("orders",): {
        "orders_agree_with_fills": (
            orders_agree,
            "size, value, number of fills and fee of every settled order are those of its fills.",
        )
    },
    ("fees", "report"): {
        "groupings_agree": (
            groupings_agree,
            "fees, volume and counts by symbol, by side and by month are those of the fills, exactly.",
        )
    },
}

_TELLING = {"currencies_known", "none_set_aside"}
"""Checks that say what the totals lack, through no fault of ours."""


def fee_checks() -> list[dg.AssetChecksDefinition]:
    return [
        _check(dg.AssetKey(list(path)), name, judge, description)
        for path, checks in _CHECKS.items()
        for name, (judge, description) in checks.items()
    ]


def _check(key: dg.AssetKey, name: str, judge: Judge, description: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=key, name=name, description=f"Of the account last checked: {description}",
        op_tags={"dagster/priority": "-60"},
    )  # fmt: skip
    def check(context: dg.AssetCheckExecutionContext, account: AccountResource) -> dg.AssetCheckResult:
        partition = context.run.tags.get("dagster/partition", "")
        passed, numbers = account.stored(partition, judge)
        severity = dg.AssetCheckSeverity.WARN if name in _TELLING else dg.AssetCheckSeverity.ERROR
        return dg.AssetCheckResult(
            passed=passed, severity=severity, metadata={"account": partition, **numbers}
        )

    return check
