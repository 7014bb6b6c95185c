"""How `livermore fees` reads an account with a progress bar, and lays its reports out."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from livermore_dagster.cli.console import console, plain_table
from livermore_dagster.market.fee_estimate import FeeEstimate
from livermore_dagster.market.fees import FeeLine, FeeReport
from livermore_dagster.trades.estimates import EstimateWish
from livermore_dagster.trades.fee_text import (
    NO_FILLS,
    as_money,
    as_rate,
    heading_lines,
    maker_taker_row,
    moment,
    table_columns,
    table_row,
    tables,
)

if TYPE_CHECKING:
    from livermore_dagster.platform.config import Settings
    from livermore_dagster.stores.postgres.user_exchanges import AccountRow

__all__ = ["estimate_json", "read_account", "report_json", "show_estimates", "show_report"]


async def read_account(settings: Settings, account: AccountRow, *, quiet: bool) -> None:
    """What is new: fills, orders, tier, balances. Without the account's variables, what is stored is told."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from livermore_dagster.errors import BadSetting
    from livermore_dagster.platform.demo_accounts import shell_environment
    from livermore_dagster.trades.conversion import convert_third_asset_fees
    from livermore_dagster.trades.history import ReadProgress, read_history
    from livermore_dagster.trades.session import credentials_of, open_account
    from livermore_dagster.trades.standing import read_held, read_tiers

    environment = shell_environment(settings.provenance)
    try:
        credentials_of(account, environment)
    except BadSetting as unset:
        typer.echo(f"Not read anew in this shell: {unset.message} This is what is stored.", err=True)
        return
    columns = (
        SpinnerColumn(), TextColumn("[bold]{task.description}"), TextColumn("{task.completed:,.0f} pages"),
        TextColumn("{task.fields[told]}"), TimeElapsedColumn(),
    )  # fmt: skip
    screen = Console(stderr=True)
    bar = Progress(*columns, console=screen, disable=quiet or not screen.is_terminal, transient=True)
    with bar:
        task = bar.add_task(f"Waiting for {account.key}", total=None, told="")

        def tell(progress: ReadProgress) -> None:
            reached = f", at {moment(progress.reached_ms)}" if progress.reached_ms is not None else ""
            told = f"{progress.rows:,} {progress.kind}, {progress.new:,} new{reached}"
            what = f"Reading {account.exchange}{f' {progress.market}' if progress.market else ''}"
            bar.update(task, description=what, completed=progress.pages, told=told)

        async with open_account(account.id, account.exchange, settings, environment=environment) as session:
            await read_history(session, "fills", tell)
            await read_history(session, "orders", tell)
            await convert_third_asset_fees(session)
            await read_tiers(session)
            await read_held(session)


def show_report(report: FeeReport) -> None:
    screen = console()
    for name, value in heading_lines(report):
        screen.print(Text.assemble((f"{name}: ", "dim"), value))
    if not report.fills:
        screen.print(f"\n{NO_FILLS}")
        return
    for title, first, lines in tables(report):
        head = table_columns(first)
        table = plain_table(f"\n{title}", head[: len(first) + 1], head[len(first) + 1 :], [])
        for line in lines:
            table.add_row(*table_row(line, first))
        if lines:
            table.add_section()
        for line in report.totals:
            table.add_row(*(Text(cell, "bold") for cell in table_row(line, first, "Total")))
        screen.print(table)
    if report.totals:
        names = ["maker volume", "maker fees", "maker rate", "taker volume", "taker fees", "taker rate"]
        table = plain_table("\nMaker and taker", ["currency"], names, [])
        for line in report.totals:
            table.add_row(*maker_taker_row(line))
        screen.print(table)
    if report.in_currency is not None:
        line = report.in_currency
        rates = ", ".join(f"1 {quote} = {rate}" for quote, rate in sorted(report.rates.items()))
        at = f" at {rates}, as stated" if rates else ""
        told = f"\nAll in {line.quote}: fees {as_money(line.fees, line.quote)}, volume "
        screen.print(f"{told}{as_money(line.volume, line.quote)}, rate {as_rate(line.rate)}{at}.")


def report_json(report: FeeReport) -> dict[str, Any]:
    """Amounts as decimal text, unrounded; rates as fractions, to twelve places."""
    facts, tier = report.facts, report.facts.tier
    return {
        "exchange": facts.exchange,
        "account": facts.account,
        "generated_ms": facts.generated_ms,
        "by": facts.month_by.value,
        "first_ms": facts.first_ms,
        "last_ms": facts.last_ms,
        "complete": facts.complete,
        "orders": report.orders,
        "fills": report.fills,
        "set_aside": dict(facts.aside),
        "fee_tier": None if tier is None else {name: _plain(getattr(tier, name)) for name in tier.__slots__},
        "by_symbol": _lines(report.by_symbol),
        "by_side": _lines(report.by_side),
        "by_month": _lines(report.by_month),
        "totals": _lines(report.totals),
        "in_currency": _lines([report.in_currency])[0] if report.in_currency is not None else None,
        "rates": {quote: _plain(rate) for quote, rate in report.rates.items()},
        "unconverted": [
            {"currency": one.currency, "amount": _plain(one.amount), "fills": one.fills}
            for one in report.unconverted
        ],
    }


def _lines(lines: Sequence[FeeLine]) -> list[dict[str, Any]]:
    return [
        {
            **{name: _plain(getattr(line, name)) for name in line.__slots__},
            "rate": _fraction(line.rate),
            "maker_rate": _fraction(line.maker_rate),
            "taker_rate": _fraction(line.taker_rate),
            "average_fee": _fraction(line.average_fee),
        }
        for line in lines
    ]


def _plain(value: Any) -> Any:
    return f"{value:f}" if isinstance(value, Decimal) else value


def _fraction(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:.12f}"


def show_estimates(found: Sequence[FeeEstimate], basis: EstimateWish) -> None:
    screen = console()
    way = f"{basis.side.value.lower()}{' and back' if basis.round_trip else ''}"
    title = f"{basis.symbol}: {way} {as_money(basis.amount, basis.quote)} {basis.quote}"
    table = plain_table(title, ["preset"], ["maker share", "rate a leg", "fees", "break-even move"], [])
    for one in found:
        sign = "+" if one.side.value == "BUY" else "−"
        table.add_row(
            one.preset.value, as_rate(one.maker_share), as_rate(one.rate),
            f"{as_money(one.fee, basis.quote)} {basis.quote}", f"{sign}{as_rate(one.break_even)}",
        )  # fmt: skip
    screen.print(table)
    if basis.tier is not None:
        tier = basis.tier
        rates = f"maker {as_rate(tier.maker_rate)}, taker {as_rate(tier.taker_rate)}"
        screen.print(f"{tier.name} ({basis.tier_from}): {rates}.")
    following = found[0].next_tier if found else None
    if following is None:
        screen.print("What the next tier would save is not known: no 30-day volume, or there is none above.")
        return
    currency = basis.tier.currency if basis.tier and basis.tier.currency else "USD"
    screen.print(
        f"Next tier {following.step.name}: {as_money(following.distance, currency)} {currency} more in 30 "
        f"days; there this would save {as_money(following.saving, basis.quote)} {basis.quote} "
        f"({found[0].preset.value})."
    )


def estimate_json(found: Sequence[FeeEstimate], basis: EstimateWish) -> dict[str, Any]:
    return {
        "exchange": basis.exchange,
        "symbol": basis.symbol,
        "quote": basis.quote,
        "tier": basis.tier.name if basis.tier else None,
        "tier_from": basis.tier_from,
        "estimates": [
            {
                "preset": one.preset.value,
                "side": one.side.value,
                "round_trip": one.round_trip,
                "amount": _plain(one.amount),
                "maker_share": _fraction(one.maker_share),
                "rate": _fraction(one.rate),
                "fee": _plain(one.fee),
                "break_even": _fraction(one.break_even),
                "next_tier": None
                if one.next_tier is None
                else {
                    "name": one.next_tier.step.name,
                    "distance": _plain(one.next_tier.distance),
                    "saving": _plain(one.next_tier.saving),
                },
            }
            for one in found
        ],
    }
