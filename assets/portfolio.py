"""Asset `portfolio`: positions with price, value and unrealised profit, and their signal (S10)."""

# Annotations are not postponed here: Dagster compares that of `context` as it stands.

from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.accounts import GROUP
from assets.cells import OWNERS, table
from livermore_dagster.audit.verdict import Row
from livermore_dagster.market.moments import utc_text
from livermore_dagster.resources import ACCOUNTS, AccountResource

if TYPE_CHECKING:
    from livermore_dagster.trades.portfolio import HeldPosition, Portfolio
    from livermore_dagster.trades.session import StoredAccount

__all__ = ["portfolio"]


@dg.asset(
    deps=[dg.AssetKey("positions"), dg.AssetKey("fills")],
    partitions_def=ACCOUNTS,
    group_name=GROUP,
    kinds={"postgres", "redis"},
    owners=OWNERS,
    code_version="1",
    description=(
        "What is held against what it cost (first in, first out, from the fills): size in units of the "
        "asset, cost, value and profit in the quote currency named; amounts that no fill explains are told "
        "apart, without a cost. With the portfolio signal of 1h, 4h and 1d MACD-V."
    ),
)
def portfolio(context: dg.AssetExecutionContext, account: AccountResource) -> dg.MaterializeResult[Any]:
    from livermore_dagster.market.cost_basis import CostMethod
    from livermore_dagster.platform.config import Settings
    from livermore_dagster.platform.watch import MarketTime
    from livermore_dagster.trades.portfolio import make_portfolio

    now_ms = MarketTime.of(Settings.discover()).now_ms()

    async def work(stored: "StoredAccount") -> "Portfolio":
        return await make_portfolio(stored.pool, stored.redis, stored.account, CostMethod.FIFO, now_ms)

    found = account.stored(context.partition_key, work)
    return dg.MaterializeResult(
        metadata={
            "account": found.account.key,
            "cost method": found.method.value,
            "fills": found.fills,
            "balances read (UTC)": "never" if found.balances_ms is None else utc_text(found.balances_ms),
            **_totals(found),
            "dagster/partition_row_count": len(found.positions),
            "positions": table([_row(one) for one in found.positions]),
        }
    )


def _totals(found: "Portfolio") -> dict[str, str]:
    """Per currency; what has no price is told beside."""
    from livermore_dagster.market.cost_basis import sums_of
    from livermore_dagster.trades.fee_text import as_money

    told = {}
    for total in sums_of(held.position for held in found.positions):
        lacks = f" (without {total.unpriced} that have no price)" if total.unpriced else ""
        for name, amount in (("value", total.value), ("unrealised", total.unrealised)):
            told[f"total {name} ({total.quote})"] = as_money(amount, total.quote) + lacks
    return told


def _row(held: "HeldPosition") -> Row:
    from livermore_dagster.trades.fee_text import as_money, as_size

    one = held.position
    return {
        "asset": one.base,
        "currency": one.quote,
        "held as": one.held_as.value,
        "size": as_size(one.size),
        "cost": as_money(one.cost, one.quote),
        "price": None if one.price is None else as_size(one.price),
        "price from": held.price_source,
        "price's age (min)": None if held.price_age_ms is None else held.price_age_ms // 60_000,
        "value": as_money(one.value, one.quote),
        "unrealised": as_money(one.unrealised, one.quote),
        "realised": as_money(one.realised, one.quote),
        "fees": as_money(one.fees, one.quote),
        "balance": "" if one.balance is None else as_size(one.balance),
        "without a fill": as_size(one.other) if one.other else "",
        "signal": held.signal.label.value,
        "signal's reason": held.signal.reason,
    }
