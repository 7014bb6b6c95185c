"""Assets of an account as its exchange tells them: `orders`, `fills`, `fee_tier`, `positions`."""

# Annotations are not postponed here: Dagster compares that of `context` as it stands.

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.cells import OWNERS, table
from livermore_dagster.audit.verdict import Row
from livermore_dagster.market.moments import utc_text
from livermore_dagster.resources import ACCOUNTS, AccountResource

if TYPE_CHECKING:
    from livermore_dagster.stores.postgres.account_reads import Kind
    from livermore_dagster.trades.session import AccountSession

__all__ = ["GROUP", "account_assets"]

GROUP = "account"
TIERS_SHOWN = 50
"""Of the tiers that were seen; all of them are in the table fee_tiers."""


def _of_account(
    description: str, deps: Sequence[dg.AssetsDefinition] = ()
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """What the exchange tells of one account, in PostgreSQL."""
    return dg.asset(
        deps=deps,
        partitions_def=ACCOUNTS,
        group_name=GROUP,
        kinds={"postgres"},
        owners=OWNERS,
        code_version="1",
        description=description,
    )


def account_assets() -> list[dg.AssetsDefinition]:
    return [fills, orders, fee_tier, positions]


@_of_account(
    "Every execution of the account, to the beginning of its history: price and value in quote currency, "
    "size in base, the fee as charged and its value in quote with the rate's source, times in UTC. Read "
    "page by page, resumed where an earlier run ended, never changed.",
)
def fills(context: dg.AssetExecutionContext, account: AccountResource) -> dg.MaterializeResult[Any]:
    from livermore_dagster.trades.conversion import convert_third_asset_fees

    async def work(session: "AccountSession") -> Mapping[str, Any]:
        facts = await _read(context, session, "fills")
        return {**facts, "third-asset fees converted now": await convert_third_asset_fees(session)}

    return dg.MaterializeResult(metadata=account.read(context.partition_key, work))


@_of_account(
    "Every order of the account as the exchange last told it, those without a fill included: sizes in "
    "base, values and average price in quote currency, times in UTC. After the first reading only what "
    "may have changed is asked for. Read after the fills, so that a fill's order is known.",
    deps=[fills],
)
def orders(context: dg.AssetExecutionContext, account: AccountResource) -> dg.MaterializeResult[Any]:
    async def work(session: "AccountSession") -> Mapping[str, Any]:
        return await _read(context, session, "orders")

    return dg.MaterializeResult(metadata=account.read(context.partition_key, work))


async def _read(
    context: dg.AssetExecutionContext, session: "AccountSession", kind: "Kind"
) -> Mapping[str, Any]:
    from livermore_dagster.stores.postgres.orders import count_trades
    from livermore_dagster.trades.history import ReadProgress, read_history

    def tell(progress: ReadProgress) -> None:
        if progress.pages % 50 == 0:
            context.log.info(
                f"{progress.pages} pages, {progress.rows} {kind} until {utc_text(progress.reached_ms)}"
            )

    report = await read_history(session, kind, tell)
    async with session.pool.connection() as connection:
        order_count, fill_count = await count_trades(connection, session.account.id)
    return {
        "account": session.account.key,
        "exchange": session.row.display_name,
        "dagster/partition_row_count": order_count if kind == "orders" else fill_count,
        "pages read": report.pages,
        "rows received": report.rows,
        "rows new": report.new,
        "rows changed": report.changed,
        **({"entries set aside now": report.aside} if kind == "fills" else {}),
        "went on where an earlier run ended": report.resumed and not report.begun_anew,
        "began anew, as the place stored was refused": report.begun_anew,
    }


@_of_account(
    "The account's fee tier now, and those it was seen in before: maker and taker rate as fractions, "
    "volume and fees of the last 30 days in the currency named.",
)
def fee_tier(context: dg.AssetExecutionContext, account: AccountResource) -> dg.MaterializeResult[Any]:
    from livermore_dagster.stores.postgres.fee_tiers import read_fee_tiers
    from livermore_dagster.trades.fee_text import as_money, as_rate
    from livermore_dagster.trades.standing import read_tiers

    async def work(session: "AccountSession") -> Mapping[str, Any]:
        now = await read_tiers(session)
        async with session.pool.connection() as connection:
            seen = await read_fee_tiers(connection, session.account.id, TIERS_SHOWN)
        rows: list[Row] = [
            {
                "seen (UTC)": utc_text(one.seen_ms),
                "market": one.market or "all",
                "tier": one.tier.name,
                "maker": as_rate(one.tier.maker_rate),
                "taker": as_rate(one.tier.taker_rate),
                "30-day volume": as_money(one.tier.volume_30d, one.tier.currency or ""),
                "30-day fees": as_money(one.tier.fees_30d, one.tier.currency or ""),
                "currency": one.tier.currency or "",
            }
            for one in seen
        ]
        return {
            "account": session.account.key,
            "tiers now": ", ".join(sorted({tier.name for tier in now.values()})),
            f"seen (the last {TIERS_SHOWN})": table(rows),
        }

    return dg.MaterializeResult(metadata=account.read(context.partition_key, work))


@_of_account(
    "What the account holds, by currency: available, and bound in open orders, in units of the currency.",
    deps=[fills, orders],
)
def positions(context: dg.AssetExecutionContext, account: AccountResource) -> dg.MaterializeResult[Any]:
    from livermore_dagster.trades.standing import read_held

    async def work(session: "AccountSession") -> Mapping[str, Any]:
        held = await read_held(session)
        rows: list[Row] = [
            {"currency": one.currency, "available": f"{one.available:f}", "hold": f"{one.hold:f}"}
            for one in held
        ]
        return {
            "account": session.account.key,
            "dagster/partition_row_count": len(held),
            "balances": table(rows),
        }

    return dg.MaterializeResult(metadata=account.read(context.partition_key, work))
