"""Fee estimates for an account: its tier as last seen, its own mix, the exchange's published tiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection

from livermore_dagster.errors import BadSetting, UnknownSymbol
from livermore_dagster.exchanges.factory import require_active, row_named
from livermore_dagster.market.decimals import exact
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.fee_estimate import (
    FeeEstimate,
    Preset,
    TierStep,
    estimate_fees,
    maker_share_of,
)
from livermore_dagster.market.trades import FeeTier, Side
from livermore_dagster.stores.postgres.exchanges import load_exchanges
from livermore_dagster.stores.postgres.fee_cells import gather_fees
from livermore_dagster.stores.postgres.fee_tiers import newest_fee_tiers
from livermore_dagster.stores.postgres.symbols import load_symbols
from livermore_dagster.stores.postgres.user_exchanges import AccountRow, read_accounts

__all__ = ["EstimateWish", "make_estimates"]


@dataclass(frozen=True, slots=True)
class EstimateWish:
    """A planned trade: `amount` in quote currency. `preset` None: every one that can be had."""

    symbol: str
    amount: Decimal
    side: Side
    round_trip: bool
    preset: Preset | None
    exchange: str = ""
    quote: str = ""
    tier: FeeTier | None = None
    tier_from: str = ""
    """Whose tier it is: the account's, or the exchange's entry tier where there is no account."""


async def make_estimates(
    connection: AsyncConnection[Any], wish: EstimateWish, exchange: str | None, sub: str
) -> tuple[list[FeeEstimate], EstimateWish]:
    """One per preset, and the wish with what they are based on.

    Raises UnknownExchange, UnknownSymbol, and BadSetting where neither exchange nor account say which, or
    where the history is asked for and there is none.
    """
    accounts = await read_accounts(connection, sub=sub)
    row = await _exchange(connection, exchange, accounts, sub)
    listed = {one.symbol: one for one in await load_symbols(connection, row.id)}
    if wish.symbol not in listed:
        raise UnknownSymbol(wish.symbol, row.name, listed)
    account = next((one for one in accounts if one.exchange_id == row.id), None)
    tier, tier_from = await _tier(connection, row, account, wish.symbol)
    quote = listed[wish.symbol].quote
    own = await _own_share(connection, account, quote)
    known = replace(wish, exchange=row.name, quote=quote, tier=tier, tier_from=tier_from)
    if wish.preset is Preset.HISTORY and own is None:
        raise BadSetting(
            f"There is no history of trades in {quote} at {row.name} to take the mix from.",
            "Choose another preset, or add the account first: livermore account add.",
        )
    presets = [one for one in Preset if one is not Preset.HISTORY or own is not None]
    return [
        estimate_fees(
            wish.amount, wish.side, tier, preset,
            round_trip=wish.round_trip, own_maker_share=own, schedule=_steps(row),
        )
        for preset in ([wish.preset] if wish.preset is not None else presets)
    ], known  # fmt: skip


async def _exchange(
    connection: AsyncConnection[Any], name: str | None, accounts: Sequence[AccountRow], sub: str
) -> ExchangeRow:
    rows = await load_exchanges(connection)
    chosen = name or next((one.exchange for one in accounts if one.is_default), None)
    if chosen is None:
        raise BadSetting(f"At which exchange? User {sub!r} has no default account.", "Give --exchange.")
    return require_active(row_named(chosen, rows), rows)


async def _tier(
    connection: AsyncConnection[Any], row: ExchangeRow, account: AccountRow | None, symbol: str
) -> tuple[FeeTier, str]:
    if account is not None:
        seen = await newest_fee_tiers(connection, account.id)
        for one in seen:
            if one.market in ("", symbol):
                return one.tier, f"tier of account {account.key}"
    fees = row.fee_schedule
    entry = FeeTier(
        str(fees["tier"]), Decimal(str(fees["maker"])), Decimal(str(fees["taker"])), None, None, None
    )
    return entry, f"entry tier of {row.name}: no account's tier is known"


async def _own_share(
    connection: AsyncConnection[Any], account: AccountRow | None, quote: str
) -> Decimal | None:
    """Share of the value filled in `quote` that was made; values in other currencies are not comparable."""
    if account is None:
        return None
    cells = [cell for cell in (await gather_fees(connection, account.id)).cells if cell.quote == quote]
    with exact():
        made = sum((cell.maker_volume for cell in cells), Decimal(0))
        taken = sum((cell.taker_volume for cell in cells), Decimal(0))
    return maker_share_of(made, taken)


def _steps(row: ExchangeRow) -> list[TierStep]:
    return [
        TierStep(name, Decimal(start), Decimal(maker), Decimal(taker))
        for name, start, maker, taker in row.fee_schedule.get("tiers", ())
    ]
