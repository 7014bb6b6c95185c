"""Asset `symbols`: an exchange's products, ranked by volume in USD and graded by liquidity, and its checks
(X3, X5)."""

# Annotations are not postponed here: Dagster compares that of `context` as it stands.

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import dagster as dg

from assets.cells import OWNERS, exchange_of, table
from assets.symbols_picture import volumes_markdown
from livermore_dagster.accounts.monitored import Gone, MonitoredList
from livermore_dagster.audit.verdict import Row
from livermore_dagster.errors import ProductListCut
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.symbols import list_age_ms, list_in_use, refresh_products, resolve_monitored
from livermore_dagster.resources import EXCHANGES, SYMBOLS, SYMBOLS_REASON_TAG, ExchangeResource
from livermore_dagster.stores.postgres.symbols import SymbolRow, load_symbols
from livermore_dagster.stores.redis.desired import Desired, read_desired

__all__ = ["symbol_checks", "symbols_asset"]

JUST_NOW_MS: Final = 60_000
"""A list read so recently by whoever asked for the run is not read again."""
GRADES: Final = ("A", "B", "C", "D", "F")
_CHECKED: Final = [row.name for row in ROWS if row.active]


@dg.asset(
    key=SYMBOLS,
    partitions_def=EXCHANGES,
    group_name="symbols",
    kinds={"postgres"},
    owners=OWNERS,
    code_version="1",
    description=(
        "The exchange's product list: each product with its 24 h volume in USD, rank (one product per base, "
        "no stable, fiat or leveraged ones), liquidity from 0 to 1 and grade, and what is monitored of it. "
        "Read when an instance starts, on request and when the list is in doubt."
    ),
)
def symbols_asset(context: dg.AssetExecutionContext, exchange: ExchangeResource) -> dg.MaterializeResult[Any]:
    """A start whose list is still in use asks the exchange for nothing (P10)."""

    async def work(ctx: ExchangeContext) -> Mapping[str, Any]:
        return await _materialized(ctx, context.run.tags.get(SYMBOLS_REASON_TAG, ""))

    return dg.MaterializeResult(metadata=exchange.use(exchange_of(context), work))


async def _materialized(ctx: ExchangeContext, reason: str) -> Mapping[str, Any]:
    age_ms = await list_age_ms(ctx)
    stored = await list_in_use(ctx) if reason == "start" else age_ms is not None and age_ms < JUST_NOW_MS
    words = "none came, went, halted or resumed"
    how = "as stored" if stored else "read anew"
    if not stored:
        try:
            words = (await refresh_products(ctx)).words or words
        except ProductListCut as error:
            how, words = "as stored: the one read now is not believed", error.message
    monitored, rows = await _as_kept(ctx)
    listed = [row for row in rows if row.listed]
    ranked = [row for row in listed if row.volume_rank is not None]
    return {
        "exchange": ctx.row.display_name,
        "why": reason or "by hand",
        "list": how,
        "changes": "–" if stored else words,
        "dagster/row_count": len(listed),
        "trading": sum(row.trading for row in listed),
        "ranked": len(ranked),
        "monitored": len(monitored.symbols),
        "of users only": sum(one.tier > 1 for one in monitored.symbols),
        "left out": table([{"symbol": one.symbol, "why": one.why.value} for one in monitored.left_out]),
        "monitored symbols": table(_table(monitored, rows)),
        "grades": table([_graded(grade, listed) for grade in GRADES]),
        "picture": dg.MetadataValue.md(volumes_markdown(f"{ctx.row.display_name}: 24 h volume", ranked)),
    }


async def _as_kept(ctx: ExchangeContext) -> tuple[MonitoredList, Sequence[SymbolRow]]:
    desired = await read_desired(ctx.redis, ctx.row.id) or Desired("idle")
    monitored = await resolve_monitored(ctx, desired)
    async with ctx.pool.connection() as connection:
        return monitored, await load_symbols(connection, ctx.row.id)


def _table(monitored: MonitoredList, rows: Sequence[SymbolRow]) -> list[Row]:
    known = {row.symbol: row for row in rows}
    found: list[Row] = []
    for one in monitored.symbols:
        row = known[one.symbol]
        volume = row.quote_volume_24h_usd
        found.append(
            {
                "symbol": one.symbol,
                "why": one.reason,
                "users": len(one.users),
                "volume 24 h (USD)": round(float(volume)) if volume is not None else None,
                "change 24 h (%)": float(row.change_24h_pct) if row.change_24h_pct is not None else None,
                "trades 24 h": row.trades_24h,
                "spread (bp)": round(row.spread_bps, 2) if row.spread_bps is not None else None,
                "depth (USD)": round(row.depth_usd) if row.depth_usd is not None else None,
                "liquidity": row.liquidity_score,
                "grade": row.liquidity_grade or "–",
            }
        )
    return found


def _graded(grade: str, rows: Sequence[SymbolRow]) -> Row:
    return {"grade": grade, "products": sum(row.liquidity_grade == grade for row in rows)}


# --- checks -------------------------------------------------------------------------------------------------


def _not_empty(monitored: MonitoredList, rows: Sequence[SymbolRow]) -> list[Row]:
    if any(row.volume_rank is not None for row in rows):
        return []
    return [{"products": len(rows), "ranked": 0}]


def _one_per_base(monitored: MonitoredList, rows: Sequence[SymbolRow]) -> list[Row]:
    products: dict[str, list[str]] = {}
    for row in rows:
        if row.volume_rank is not None:
            products.setdefault(row.base, []).append(row.symbol)
    return [
        {"base": base, "products": ", ".join(names)} for base, names in products.items() if len(names) > 1
    ]


def _all_listed(monitored: MonitoredList, rows: Sequence[SymbolRow]) -> list[Row]:
    listed = {row.symbol for row in rows if row.listed and row.trading}
    wrong = [one.symbol for one in monitored.symbols if one.symbol not in listed]
    wrong += [one.symbol for one in monitored.left_out if one.why is Gone.UNKNOWN]
    return [{"symbol": symbol} for symbol in wrong]


_CHECKS: Final = {
    "not_empty": (_not_empty, "the list holds products that can be ranked."),
    "one_product_per_base": (_one_per_base, "no base is ranked twice."),
    "monitored_are_listed": (_all_listed, "everything monitored, or wanted by a user, is a listed product."),
}


def symbol_checks() -> dg.AssetChecksDefinition:
    """One op; a partitioned run yields the results of its own exchange only. Nothing is asked of it."""
    wanted = {
        dg.AssetCheckKey(SYMBOLS, f"{name}_{exchange}"): (exchange, judge, description)
        for name, (judge, description) in _CHECKS.items()
        for exchange in _CHECKED
    }
    specs = [
        dg.AssetCheckSpec(key.name, asset=SYMBOLS, description=f"{exchange}: {description}")
        for key, (exchange, _, description) in wanted.items()
    ]

    @dg.multi_asset_check(name="symbols_checks", specs=specs, can_subset=True)
    def run(
        context: dg.AssetCheckExecutionContext, exchange: ExchangeResource
    ) -> Iterator[dg.AssetCheckResult]:
        own = exchange_of(context)
        for key in sorted(context.selected_asset_check_keys, key=lambda one: one.name):
            name, judge, _ = wanted[key]
            if own in ("", name):
                wrong = judge(*exchange.use(name, _as_kept))
                yield dg.AssetCheckResult(
                    asset_key=SYMBOLS,
                    check_name=key.name,
                    passed=not wrong,
                    metadata={"wrong": len(wrong), "first 50": table(wrong[:50])},
                )

    return run
