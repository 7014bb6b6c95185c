"""Commands about symbols, as far as they are settings: what their sender wants from now on (Tier 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from livermore_dagster.accounts import symbols
from livermore_dagster.accounts.symbols import Outcome, SymbolResult
from livermore_dagster.control.commands.message import AddSymbol, BulkAddSymbols, Command, RemoveSymbol
from livermore_dagster.errors import BadSetting
from livermore_dagster.ingest.context import ExchangeContext

__all__ = ["add_symbols", "remove_symbol", "take_back"]


async def add_symbols(ctx: ExchangeContext, command: Command) -> Mapping[str, Any]:
    """Adds what the exchange has to the sender's settings; what became of each, where there are several.

    Raises BadSetting when none of them can be had.
    """
    payload = cast("AddSymbol | BulkAddSymbols", command.typed_payload())
    wanted = payload.symbols if isinstance(payload, BulkAddSymbols) else (payload.symbol,)
    async with ctx.pool.connection() as connection:
        results = await symbols.add(
            connection, ctx.redis, ctx.client, ctx.row, command.sub, dict.fromkeys(wanted, True),
            by=command.sub,
        )  # fmt: skip
    return _told(results)


async def take_back(ctx: ExchangeContext, command: Command, added: Mapping[str, Any]) -> None:
    """Makes the sender's settings what they were before `add_symbols` told `added` of them."""
    outcomes: Mapping[str, str] = added["outcomes"]
    new = [symbol for symbol, outcome in outcomes.items() if outcome == Outcome.ADDED]
    enabled = [symbol for symbol, outcome in outcomes.items() if outcome == Outcome.ENABLED]
    own = ctx.redis, ctx.row.name, command.sub
    async with ctx.pool.connection() as connection:
        if new:
            await symbols.remove(connection, *own, new, by=command.sub)
        if enabled:
            await symbols.set_enabled(connection, *own, enabled, enabled=False, by=command.sub)


async def remove_symbol(ctx: ExchangeContext, command: Command) -> Mapping[str, Any]:
    """Takes a symbol out of the sender's settings; what others want, or ranks among the first, stays.

    Raises BadSetting where the sender has not added it.
    """
    payload = cast("RemoveSymbol", command.typed_payload())
    async with ctx.pool.connection() as connection:
        results = await symbols.remove(
            connection, ctx.redis, ctx.row.name, command.sub, [payload.symbol], by=command.sub
        )
    return _told(results)


def _told(results: Sequence[SymbolResult]) -> Mapping[str, Any]:
    refused = {one.given: one.words for one in results if one.outcome is Outcome.REFUSED}
    if len(refused) == len(results):
        raise BadSetting(" ".join(dict.fromkeys(refused.values())))
    done = {one.symbol: one.outcome.value for one in results if one.outcome is not Outcome.REFUSED}
    remarks = [one.words for one in results if one.words and one.outcome is not Outcome.REFUSED]
    return {
        "outcomes": done,
        **({"refused": refused} if refused else {}),
        **({"remarks": remarks} if remarks else {}),
    }
