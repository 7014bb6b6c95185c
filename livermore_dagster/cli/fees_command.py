"""`livermore fees`: what trading cost, and what a planned trade will cost."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livermore_dagster.cli.files import write_file
from livermore_dagster.cli.group import group
from livermore_dagster.cli.store_session import Home, Json, User

if TYPE_CHECKING:
    from livermore_dagster.market.fee_estimate import FeeEstimate
    from livermore_dagster.market.fees import FeeReport
    from livermore_dagster.trades.estimates import EstimateWish
    from livermore_dagster.trades.reports import ReportWish

__all__ = ["app"]

LEAST, MOST = Decimal("1e-12"), Decimal("1e18")
"""Amounts and rates beyond are slips of the finger, and too long for exact arithmetic."""

_GROUPED = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?").fullmatch

app = group("What trading cost, and what a trade will cost.", "livermore fees report coinbase")


@app.command("report")
def report(
    exchange: Annotated[str, typer.Argument(help="Name of the exchange, such as coinbase.")],
    since: Annotated[str | None, typer.Option(help="From then on: 2026-01-05T00:00:00Z, or 30d.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to then, not included.")] = None,
    symbol: Annotated[str | None, typer.Option(help="One symbol, as the exchange names it.")] = None,
    by: Annotated[
        str, typer.Option(help="What months and range are of: filled, or created (of the order).")
    ] = "filled",
    currency: Annotated[
        str | None, typer.Option("--in", metavar="CUR", help="A grand total in one currency too.")
    ] = None,
    rate: Annotated[
        list[str] | None, typer.Option(metavar="CUR=RATE", help="What one CUR is in that currency.")
    ] = None,
    stored: Annotated[
        bool, typer.Option("--stored", help="Of what is stored; ask the exchange nothing.")
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE.md", help="Write it as Markdown.")] = None,
    user: User = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Read what is new of the account, then show its fees by symbol, by side and by month.

    Example: livermore fees report coinbase --since 2026-01-01 --out fees.md
    """
    import asyncio

    from livermore_dagster.cli.fees_output import report_json, show_report
    from livermore_dagster.platform.attach import attach
    from livermore_dagster.platform.watch import MarketTime
    from livermore_dagster.trades.fee_text import markdown

    settings = attach(home)
    sub = settings.acting_user(user)
    now_ms = MarketTime.of(settings).now_ms()
    wish = _wish(by, since, until, symbol, currency, rate or [], now_ms)
    try:
        found = asyncio.run(_report(settings, exchange, sub, wish, stored=stored, quiet=as_json))
    except KeyboardInterrupt:
        typer.echo("Interrupted. What was read is kept: the same command goes on from there.", err=True)
        raise typer.Exit(130) from None
    if out is not None:
        write_file(out, markdown(found).encode())
    if as_json:
        typer.echo(json.dumps(report_json(found)))
    else:
        show_report(found)
        if out is not None:
            typer.echo(f"Written to {out}.")


def _wish(
    by: str, since: str | None, until: str | None, symbol: str | None, currency: str | None,
    rates: list[str], now_ms: int,
) -> ReportWish:  # fmt: skip
    from livermore_dagster.cli.arguments import moment
    from livermore_dagster.errors import BadSetting
    from livermore_dagster.market.fees import MonthBy
    from livermore_dagster.trades.reports import ReportWish

    if by not in set(MonthBy):
        raise BadSetting(f"--by {by!r} is unknown.", f"Choose {' or '.join(MonthBy)}.")
    since_ms, until_ms = moment(since, "--since", now_ms), moment(until, "--until", now_ms)
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise BadSetting("--since is not before --until.", "Exchange them.")
    if rates and currency is None:
        raise BadSetting("--rate was given without --in.", "Say which currency it leads to: --in USD.")
    return ReportWish(MonthBy(by), since_ms, until_ms, symbol, currency, _rates(rates, currency))


def _positive(text: str) -> Decimal | None:
    """A number above 0 of the size that money has; None for anything else."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if "_" in text:  # Python's own way of grouping digits
        return None
    return number if number.is_finite() and LEAST <= number <= MOST else None


def _rates(texts: Sequence[str], currency: str | None) -> dict[str, Decimal]:
    """By currency, each once. What one unit of `currency` is in itself nobody may say otherwise."""
    from livermore_dagster.errors import BadSetting

    found: dict[str, Decimal] = {}
    for text in texts:
        name, rate = _rate(text)
        if name == currency:
            raise BadSetting(f"--rate {text!r}: 1 {name} is 1 {name}.", "Leave it out.")
        if name in found:
            raise BadSetting(
                f"The rate of {name} was given twice: {found[name]} and {rate}.", "Give one of them."
            )
        found[name] = rate
    return found


def _rate(text: str) -> tuple[str, Decimal]:
    from livermore_dagster.errors import BadSetting

    name, _, number = text.partition("=")
    rate = _positive(number)
    if not name or rate is None:
        raise BadSetting(f"--rate {text!r} is not a rate.", "Write it like EUR=1.0845.")
    return name, rate


async def _report(
    settings: object, exchange: str, sub: str, wish: ReportWish, *, stored: bool, quiet: bool
) -> FeeReport:
    import psycopg

    from livermore_dagster.cli.fees_output import read_account
    from livermore_dagster.cli.lookup import find_exchange
    from livermore_dagster.clock import SystemClock
    from livermore_dagster.errors import UnknownSymbol
    from livermore_dagster.platform.config import Settings
    from livermore_dagster.stores.postgres.connect import conninfo
    from livermore_dagster.stores.postgres.symbols import load_symbols
    from livermore_dagster.trades.reports import make_fee_report
    from livermore_dagster.trades.session import require_account

    assert isinstance(settings, Settings)  # noqa: S101 - typed loosely, so that help imports nothing
    address = conninfo(settings.database_url, settings.database_ca)
    async with await psycopg.AsyncConnection.connect(address, connect_timeout=10) as connection:
        row = await find_exchange(connection, exchange)
        account = await require_account(connection, exchange, sub=sub)
        await connection.commit()
        if not stored:
            await read_account(settings, account, quiet=quiet)
        found = await make_fee_report(connection, account, SystemClock().now_ms(), wish)
        if wish.symbol is not None and not found.by_symbol:
            known = [one.symbol for one in await load_symbols(connection, row.id)]
            if wish.symbol not in known:
                raise UnknownSymbol(wish.symbol, exchange, known)
        return found


@app.command("estimate")
def estimate(
    symbol: Annotated[str, typer.Argument(help="As the exchange names it: BTC-USD.")],
    amount: Annotated[str, typer.Argument(help="Value of the trade in the symbol's quote currency.")],
    exchange: Annotated[str | None, typer.Option(help="Else that of your default account.")] = None,
    side: Annotated[str, typer.Option(help="buy or sell.")] = "buy",
    round_trip: Annotated[bool, typer.Option("--round-trip", help="In and out again.")] = False,
    preset: Annotated[
        str | None, typer.Option(help="conservative, moderate, optimistic or history. Else all.")
    ] = None,
    user: User = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Say what a planned trade costs, which move breaks even, and what the next fee tier would save.

    conservative: everything is taken. moderate: half is. optimistic: nothing is, the orders rest in the book.
    history: as the account's own trades were.

    Example: livermore fees estimate BTC-USD 5000 --round-trip
    """
    from livermore_dagster.cli.fees_output import estimate_json, show_estimates
    from livermore_dagster.cli.store_session import StoreSession, in_session
    from livermore_dagster.trades.estimates import make_estimates

    wish = _estimate_wish(symbol, amount, side, preset, round_trip=round_trip)

    async def work(session: StoreSession) -> tuple[list[FeeEstimate], EstimateWish]:
        return await make_estimates(session.connection, wish, exchange, session.settings.acting_user(user))

    found, basis = in_session(work, home, user)
    if as_json:
        typer.echo(json.dumps(estimate_json(found, basis)))
    else:
        show_estimates(found, basis)


def _estimate_wish(
    symbol: str, amount: str, side: str, preset: str | None, *, round_trip: bool
) -> EstimateWish:
    from livermore_dagster.errors import BadSetting
    from livermore_dagster.market.fee_estimate import Preset
    from livermore_dagster.market.trades import Side
    from livermore_dagster.trades.estimates import EstimateWish

    grouped = _GROUPED(amount) is not None
    value = _positive(amount.replace(",", "") if grouped else amount)
    if value is None:
        raise BadSetting(
            f"{amount!r} is not an amount.",
            "Give a number above 0, such as 5000 or 5,000.50: commas stand between thousands only.",
        )
    if side.upper() not in set(Side):
        raise BadSetting(f"--side {side!r} is unknown.", "Choose buy or sell.")
    if preset is not None and preset not in set(Preset):
        raise BadSetting(f"Unknown preset {preset!r}.", f"Presets: {', '.join(Preset)}.")
    chosen = None if preset is None else Preset(preset)
    return EstimateWish(symbol, value, Side(side.upper()), round_trip, chosen)
