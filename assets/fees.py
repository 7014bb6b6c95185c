"""Assets `fees/…`: what trading cost, by symbol, side and month, and the whole report; from stored fills."""

# Annotations are not postponed here: Dagster compares that of `context` as it stands.

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.cells import OWNERS, table
from livermore_dagster.audit.verdict import Row
from livermore_dagster.resources import ACCOUNTS, AccountResource

if TYPE_CHECKING:
    from livermore_dagster.market.fees import FeeLine, FeeReport
    from livermore_dagster.trades.session import StoredAccount

__all__ = ["fee_assets"]

UNITS = (
    "Fees and volume (filled value) in the quote currency named, effective rate = fees / volume in %; "
    "amounts in different currencies are never added."
)
TRADES = [dg.AssetKey("orders"), dg.AssetKey("fills")]


def fee_assets() -> list[dg.AssetsDefinition]:
    return [
        _grouping("by_symbol", ("symbol",), "By symbol, highest fees first, with the average fee per order."),
        _grouping("by_side", ("symbol", "side"), "By symbol and side (BUY, SELL), highest fees first."),
        _grouping("by_month", ("month",), "By calendar month of the fills, UTC."),
        _report(),
    ]


def _grouping(name: str, first: Sequence[str], description: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=["fees", name],
        deps=TRADES,
        partitions_def=ACCOUNTS,
        group_name="fees",
        kinds={"postgres"},
        owners=OWNERS,
        code_version="1",
        description=f"Trading fees. {description} {UNITS}",
    )
    def fees(context: dg.AssetExecutionContext, account: AccountResource) -> dg.MaterializeResult[Any]:
        from assets.fee_pictures import months_markdown, symbols_markdown

        report = account.stored(context.partition_key, _made)
        lines: Sequence[FeeLine] = getattr(report, name)
        pictures = {"by_symbol": symbols_markdown, "by_month": months_markdown}
        picture = {"picture": dg.MetadataValue.md(pictures[name](report))} if name in pictures else {}
        return dg.MaterializeResult(
            metadata={
                **_totals(report),
                **picture,
                "dagster/partition_row_count": len(lines),
                name.replace("_", " "): table([_row(line, first) for line in lines]),
            }
        )

    return fees


def _report() -> dg.AssetsDefinition:
    @dg.asset(
        key=["fees", "report"],
        deps=[
            *TRADES,
            dg.AssetKey("fee_tier"),
            *(["fees", name] for name in ("by_symbol", "by_side", "by_month")),
        ],
        partitions_def=ACCOUNTS,
        group_name="fees",
        kinds={"postgres", "markdown"},
        owners=OWNERS,
        code_version="1",
        description=f"The fee report whole, as Markdown: fee tier, three tables, maker and taker. {UNITS}",
    )
    def fees_report(context: dg.AssetExecutionContext, account: AccountResource) -> dg.MaterializeResult[Any]:
        from assets.fee_pictures import months_markdown, symbols_markdown
        from livermore_dagster.trades.fee_text import markdown

        report = account.stored(context.partition_key, _made)
        return dg.MaterializeResult(
            metadata={
                **_totals(report),
                "fees by month": dg.MetadataValue.md(months_markdown(report)),
                "fees by symbol": dg.MetadataValue.md(symbols_markdown(report)),
                "report": dg.MetadataValue.md(markdown(report)),
            }
        )

    return fees_report


async def _made(stored: "StoredAccount") -> "FeeReport":
    from livermore_dagster.trades.reports import make_fee_report

    async with stored.pool.connection() as connection:
        return await make_fee_report(connection, stored.account, stored.clock.now_ms())


def _totals(report: "FeeReport") -> Mapping[str, Any]:
    from livermore_dagster.trades.fee_text import as_money, as_rate, aside_words

    totals: dict[str, Any] = {"account": report.facts.account, "orders": report.orders, "fills": report.fills}
    for line in report.totals:
        totals[f"total fees ({line.quote})"] = as_money(line.fees, line.quote)
        totals[f"total volume ({line.quote})"] = as_money(line.volume, line.quote)
        totals[f"effective rate ({line.quote})"] = as_rate(line.rate)
    if report.unconverted:
        totals["fees not converted"] = ", ".join(
            f"{one.amount.normalize():f} {one.currency}" for one in report.unconverted
        )
    if report.facts.aside:
        totals["entries in no sum"] = aside_words(report.facts.aside)
    return totals


def _row(line: "FeeLine", first: Sequence[str]) -> Row:
    from livermore_dagster.trades.fee_text import table_columns, table_row

    row: Row = dict(zip(table_columns(first), table_row(line, first), strict=True))
    return {**row, "orders": line.orders}
