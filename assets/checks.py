"""How a check of one exchange and timeframe is declared and run; results are per asset, so names carry the
exchange."""

# Annotations are not postponed here: Dagster compares that of `context` as it stands.

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import dagster as dg

from assets.cells import cell_of, exchange_of, table
from livermore_dagster.audit.cell import Cell
from livermore_dagster.audit.cells import require_timeframe
from livermore_dagster.audit.verdict import Verdict, judge
from livermore_dagster.errors import LivermoreError
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.resources import ExchangeResource, check_key

__all__ = ["Check", "build_checks", "checked_exchanges"]

SHOWN_ROWS = 50
Check = Callable[[Cell], Awaitable[Verdict]]


def checked_exchanges(timeframe: Timeframe) -> list[str]:
    """Exchanges that have an adapter and this timeframe."""
    return [
        row.name
        for row in ROWS
        if row.active
        and timeframe in row.timeframes
        and (timeframe.ms >= Timeframe.M15.ms or timeframe in row.streamed_timeframes)
    ]


def build_checks(
    layer: str, timeframe: Timeframe, checks: Mapping[str, tuple[Check, str]]
) -> dg.AssetChecksDefinition:
    """One op for all checks of an asset; `checks` maps a name to its function and description.

    A partitioned run yields the results of its own exchange only.
    """
    wanted: dict[dg.AssetCheckKey, tuple[str, Check]] = {}
    specs: list[dg.AssetCheckSpec] = []
    for name, (check, description) in checks.items():
        for exchange in checked_exchanges(timeframe):
            key = check_key(layer, timeframe, name, exchange)
            wanted[key] = (exchange, check)
            specs.append(
                dg.AssetCheckSpec(key.name, asset=key.asset_key, description=f"{exchange}: {description}")
            )

    @dg.multi_asset_check(
        name=f"{layer}_{timeframe.value}_checks",
        specs=specs,
        can_subset=True,
        op_tags={"dagster/priority": "-60"},
    )
    def run(
        context: dg.AssetCheckExecutionContext, exchange: ExchangeResource
    ) -> Iterator[dg.AssetCheckResult]:
        own = exchange_of(context)
        for key in sorted(context.selected_asset_check_keys, key=lambda one: one.name):
            name, check = wanted[key]
            if own in ("", name):
                yield _run_one(context, exchange, timeframe, key, name, check)

    return run


def _run_one(
    context: dg.AssetCheckExecutionContext,
    exchange: ExchangeResource,
    timeframe: Timeframe,
    key: dg.AssetCheckKey,
    name: str,
    check: Check,
) -> dg.AssetCheckResult:
    async def work(ctx: ExchangeContext) -> Verdict:
        try:
            require_timeframe(ctx, timeframe)
        except LivermoreError as error:
            return Verdict(True, {"not judged": str(error)})
        return await judge(await cell_of(ctx, timeframe, context.run.tags), check)

    verdict = exchange.use(name, work)
    metadata: dict[str, Any] = {**verdict.numbers, verdict.rows_title: table(verdict.rows[:SHOWN_ROWS])}
    return dg.AssetCheckResult(
        passed=verdict.passed, asset_key=key.asset_key, check_name=key.name, metadata=metadata
    )
