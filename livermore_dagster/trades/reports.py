"""Fee reports out of what is stored of an account; nothing here asks the exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection

from livermore_dagster.errors import BadSetting
from livermore_dagster.market.fees import FeeReport, MonthBy, ReportFacts, fee_report
from livermore_dagster.stores.postgres.account_reads import read_progress, unread
from livermore_dagster.stores.postgres.aside_entries import count_aside_entries
from livermore_dagster.stores.postgres.fee_cells import gather_fees
from livermore_dagster.stores.postgres.fee_tiers import newest_fee_tiers
from livermore_dagster.stores.postgres.user_exchanges import AccountRow
from livermore_dagster.trades.fee_text import tier_told

__all__ = ["ReportWish", "make_fee_report"]


@dataclass(frozen=True, slots=True)
class ReportWish:
    """What a fee report shall span. `rates`: price of each quote currency in `currency`, as stated."""

    month_by: MonthBy = MonthBy.FILLED
    since_ms: int | None = None
    until_ms: int | None = None
    symbol: str | None = None
    currency: str | None = None
    rates: Mapping[str, Decimal] | None = None


async def make_fee_report(
    connection: AsyncConnection[Any], account: AccountRow, now_ms: int, wish: ReportWish | None = None
) -> FeeReport:
    """Raises BadSetting where a currency's rate is needed and not stated."""
    asked = wish or ReportWish()
    gathered = await gather_fees(
        connection,
        account.id,
        month_by=asked.month_by,
        since_ms=asked.since_ms,
        until_ms=asked.until_ms,
        symbol=asked.symbol,
    )
    tiers = await newest_fee_tiers(connection, account.id)
    progress = await read_progress(connection, account.id)
    aside = await count_aside_entries(
        connection, account.id, since_ms=asked.since_ms, until_ms=asked.until_ms, symbol=asked.symbol
    )
    facts = ReportFacts(
        exchange=account.exchange,
        account=account.key,
        generated_ms=now_ms,
        month_by=asked.month_by,
        since_ms=asked.since_ms,
        until_ms=asked.until_ms,
        symbol=asked.symbol,
        first_ms=gathered.first_ms,
        last_ms=gathered.last_ms,
        tier=tier_told(tiers),
        complete=not unread(progress, account.markets),
        aside=aside,
    )
    try:
        return fee_report(
            gathered.cells, facts, gathered.unconverted, currency=asked.currency, rates=asked.rates
        )
    except KeyError as missing:
        quote = missing.args[0]
        raise BadSetting(
            f"The report has amounts in {quote}, and no rate for it was stated.",
            f"State what one {quote} is in {asked.currency}: --rate {quote}=…",
        ) from None
