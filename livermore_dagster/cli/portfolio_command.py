"""`livermore portfolio`: positions with cost, value, profit and signal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livermore_dagster.cli.store_session import Home, Json, StoreSession, User, in_session

if TYPE_CHECKING:
    from livermore_dagster.trades.reports import HeldPosition, Portfolio

__all__ = ["portfolio"]


def portfolio(
    exchange: Annotated[str | None, typer.Option(help="One exchange; else all of your accounts.")] = None,
    method: Annotated[str, typer.Option(help="Cost of what is sold: fifo or average.")] = "fifo",
    user: User = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show what is held against what it cost, from the fills that are stored.

    What came or went without a fill (a transfer, a reward) is told apart: its cost is not known.

    Example: livermore portfolio --method average
    """
    from livermore_dagster.errors import BadSetting
    from livermore_dagster.market.cost_basis import CostMethod

    if method not in set(CostMethod):
        raise BadSetting(f"Unknown method {method!r}.", f"Methods: {', '.join(CostMethod)}.")
    found = in_session(lambda session: _portfolios(session, exchange, CostMethod(method)), home, user)
    if as_json:
        typer.echo(json.dumps([_facts(one) for one in found]))
        return
    for one in found:
        _show(one)


async def _portfolios(session: StoreSession, exchange: str | None, method: Any) -> list[Portfolio]:
    from livermore_dagster.cli.lookup import open_stores
    from livermore_dagster.errors import BadSetting
    from livermore_dagster.stores.postgres.user_exchanges import read_accounts
    from livermore_dagster.trades.reports import make_portfolio
    from livermore_dagster.trades.session import require_account

    if exchange is not None:
        accounts = [await require_account(session.connection, exchange, sub=session.user)]
    else:
        accounts = await read_accounts(session.connection, sub=session.user)
    if not accounts:
        raise BadSetting(f"User {session.user!r} has no account.", "Add one: livermore account add.")
    async with open_stores(session.settings) as stores:
        return [await make_portfolio(stores.pool, stores.redis, one, method) for one in accounts]


def _show(found: Portfolio) -> None:
    from rich.text import Text

    from livermore_dagster.cli.console import console, plain_table
    from livermore_dagster.trades.fee_text import as_money, as_size, moment

    screen = console()
    table = plain_table(
        f"{found.account.key} ({found.method.value}, {found.fills:,} fills, balances of "
        f"{moment(found.balances_ms)})",
        ["asset", "in"],
        ["size", "cost", "price", "value", "unrealised", "realised", "fees"],
        ["signal", "without a fill"],
    )
    told: set[str] = set()
    for held in found.positions:
        one = held.position
        # The asset's own difference, told once however many currencies it was bought in.
        other = f"{one.transferred} {as_size(abs(one.other))}" if one.other and one.base not in told else ""
        told.add(one.base)
        unrealised = as_money(one.unrealised, one.quote)
        colour = "" if one.unrealised is None else "green" if one.unrealised >= 0 else "red"
        reason = f" ({held.signal.reason})" if held.signal.reason else ""
        table.add_row(
            one.base, one.quote or "–", as_size(one.size), as_money(one.cost, one.quote),
            "–" if one.price is None else as_size(one.price), as_money(one.value, one.quote),
            Text(unrealised, colour),
            as_money(one.realised, one.quote), as_money(one.fees, one.quote),
            f"{held.signal.label.value}{reason}" if one.quote else "",
            other,
        )  # fmt: skip
    screen.print(table)
    if any(held.position.sold_without_cost for held in found.positions):
        screen.print("Sales beyond what was bought in that currency have no known profit and are left out.")
    if any(held.position.unconverted_fees for held in found.positions):
        screen.print("Fees in an asset without a known price are in neither cost nor profit.")


def _facts(found: Portfolio) -> dict[str, Any]:
    return {
        "account": found.account.key,
        "method": found.method.value,
        "fills": found.fills,
        "balances_ms": found.balances_ms,
        "positions": [_position(held) for held in found.positions],
    }


def _position(held: HeldPosition) -> dict[str, Any]:
    one = held.position
    amounts = ("size", "cost", "average_cost", "price", "value", "unrealised", "realised", "fees", "balance")
    return {
        "asset": one.base,
        "currency": one.quote,
        "symbol": held.symbol,
        **{name: _text(getattr(one, name)) for name in (*amounts, "other", "sold_without_cost")},
        "transferred": one.transferred,
        "unconverted_fees": one.unconverted_fees,
        "price_source": held.price_source,
        "price_ms": held.price_ms,
        "signal": held.signal.label.value,
        "signal_reason": held.signal.reason,
    }


def _text(value: Any) -> str | None:
    return None if value is None else f"{value:f}"
