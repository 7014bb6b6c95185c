"""`livermore portfolio`: positions with cost, value, profit and signal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from livermore_dagster.cli.store_session import Home, Json, StoreSession, User, in_session
from livermore_dagster.market.cost_basis import HeldAs

if TYPE_CHECKING:
    from livermore_dagster.market.cost_basis import Position, PositionSum
    from livermore_dagster.trades.portfolio import HeldPosition, Portfolio

__all__ = ["portfolio"]

MONEY: Final = ("cost", "value", "unrealised", "realised", "fees")
NUMBERS: Final = ("size", "cost", "price", "value", "unrealised", "realised", "fees")
LEFT_OUT: Final = ("cost", "realised", "fees")
"""They give way on a terminal narrower than WIDE: a number that is cut is worse than one that is missing."""
WIDE: Final = 116


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
    from livermore_dagster.platform.watch import MarketTime
    from livermore_dagster.stores.postgres.user_exchanges import read_accounts
    from livermore_dagster.trades.portfolio import make_portfolio
    from livermore_dagster.trades.session import require_account

    if exchange is not None:
        accounts = [await require_account(session.connection, exchange, sub=session.user)]
    else:
        accounts = await read_accounts(session.connection, sub=session.user)
    if not accounts:
        raise BadSetting(f"User {session.user!r} has no account.", "Add one: livermore account add.")
    now_ms = MarketTime.of(session.settings).now_ms()
    async with open_stores(session.settings) as stores:
        return [await make_portfolio(stores.pool, stores.redis, one, method, now_ms) for one in accounts]


def _show(found: Portfolio) -> None:
    from rich.text import Text

    from livermore_dagster.cli.console import console, plain_table
    from livermore_dagster.market.cost_basis import sums_of
    from livermore_dagster.trades.fee_text import moment

    screen = console()
    if not found.positions:
        told = "nothing was traded, and nothing is held."
        if found.balances_ms is None:
            told = f"nothing was read yet. Read it: livermore fees report {found.account.exchange}."
        screen.print(f"{found.account.key}: {told}")
        return
    narrow = screen.width < WIDE
    read = "never read" if found.balances_ms is None else f"of {moment(found.balances_ms)}"
    title = f"{found.account.key} ({found.method.value}, {found.fills:,} fills, balances {read})"
    numbers = [name for name in NUMBERS if not (narrow and name in LEFT_OUT)]
    table = plain_table(title, ["asset", "in"], numbers, ["signal"])

    def add(
        asset: str, quote: str, cells: dict[str, str], gain: Decimal | None, signal: str, style: str
    ) -> None:
        colour = "" if gain is None else "green" if gain >= 0 else "red"
        shown = [Text(cells[name], colour if name == "unrealised" else "") for name in numbers]
        table.add_row(asset, quote, *shown, signal, style=style)

    for held in found.positions:
        one = held.position
        signal = "" if one.held_as is HeldAs.CASH else held.signal.label.value
        add(one.base, _in(one), _cells(held), one.unrealised, signal, "")
    table.add_section()
    totals = sums_of(held.position for held in found.positions)
    for total in totals:
        add("Total", total.quote, _total_cells(total), total.unrealised, "", "bold")
    screen.print(table)
    for line in _remarks(found, unpriced=any(total.unpriced for total in totals), narrow=narrow):
        screen.print(Text(line))


def _in(one: Position) -> str:
    return one.held_as.value if one.held_as is HeldAs.CASH else one.quote


def _total_cells(total: PositionSum) -> dict[str, str]:
    from livermore_dagster.trades.fee_text import as_money

    cells = {"size": "", "price": ""} | {name: as_money(getattr(total, name), total.quote) for name in MONEY}
    if total.unpriced:
        for name in ("value", "unrealised"):
            # Where nothing of it has a price, a zero would be a lie.
            cells[name] = f"{cells[name]}*" if total.value else "–*"
    return cells


def _cells(held: HeldPosition) -> dict[str, str]:
    from livermore_dagster.cli.board_table import age_text
    from livermore_dagster.trades.fee_text import as_money, as_size

    one = held.position
    cells = {name: as_money(getattr(one, name), one.quote) for name in MONEY}
    if one.held_as is not HeldAs.BOUGHT:
        cells["realised"] = cells["fees"] = "–"
    age = f" ({age_text(held.price_age_ms)})" if held.price_is_old else ""
    return {
        **cells,
        "size": as_size(one.size),
        "price": "–" if one.price is None else as_size(one.price) + age,
    }


def _remarks(found: Portfolio, *, unpriced: bool, narrow: bool) -> list[str]:
    """What the table does not hold, in sentences."""
    from livermore_dagster.trades.fee_text import as_size

    lines = ["* lacks what has no price here: no ticker, no candle."] if unpriced else []
    positions = [held.position for held in found.positions]
    if found.balances_ms is None:
        lines.append(f"Sizes are what the fills explain: run livermore fees report {found.account.exchange}.")
    if any(held.price_is_old for held in found.positions):
        lines.append("A price with an age in brackets is that old: nothing newer is known here.")
    if any(one.cost is None and one.value for one in positions):
        lines.append("What has no known cost is in the value, and in no profit.")
    # The asset's own difference, told once however many currencies it was bought in.
    moved = {one.base: f"{as_size(abs(one.other))} {one.base}" for one in positions
             if one.other and one.held_as is not HeldAs.CASH}  # fmt: skip
    for way, words in (("in", "Came in"), ("out", "Went out")):
        listed = [moved[base] for base in moved if _way(positions, base) == way]
        if listed:
            lines.append(f"{words} without a fill (a transfer, a reward): {', '.join(listed)}.")
    reasons: dict[str, list[str]] = {}
    for held in found.positions:
        if held.signal.reason and held.symbol:
            names = reasons.setdefault(held.signal.reason, [])
            names += [held.symbol] if held.symbol not in names else []
    lines += [f"No Data ({reason}): {', '.join(names)}." for reason, names in reasons.items()]
    if any(one.sold_without_cost for one in positions):
        lines.append("Sales beyond what was bought in that currency have no known profit and are left out.")
    if any(one.unconverted_fees for one in positions):
        lines.append("Fees in an asset without a known price are in neither cost nor profit.")
    if narrow:
        lines.append(f"A terminal of {WIDE} columns shows {', '.join(LEFT_OUT)} too.")
    return lines


def _way(positions: Sequence[Position], base: str) -> str:
    return next(one.transferred for one in positions if one.base == base)


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
        "held_as": one.held_as.value,
        "currency": one.quote,
        "symbol": held.symbol,
        **{name: _text(getattr(one, name)) for name in (*amounts, "other", "sold_without_cost")},
        "transferred": one.transferred,
        "unconverted_fees": one.unconverted_fees,
        "price_source": held.price_source,
        "price_ms": held.price_ms,
        "price_age_ms": held.price_age_ms,
        "signal": held.signal.label.value,
        "signal_reason": held.signal.reason,
    }


def _text(value: Any) -> str | None:
    return None if value is None else f"{value:f}"
