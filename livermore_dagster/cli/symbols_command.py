"""`livermore symbols`: what is monitored and why, and a user's own symbols."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from livermore_dagster.cli.files import read_text
from livermore_dagster.cli.group import group
from livermore_dagster.cli.store_session import Home, Json, User

if TYPE_CHECKING:
    from livermore_dagster.accounts.symbols import SymbolResult
    from livermore_dagster.ingest.context import ExchangeContext
    from livermore_dagster.platform.config import Settings
    from livermore_dagster.stores.postgres.symbols import SymbolRow

__all__ = ["app"]

app = group("What is monitored; a user's own symbols.", "livermore symbols add binance SOLUSDT")

T = TypeVar("T")
LARGEST_BYTES = 2_000_000
Exchange = Annotated[str, typer.Argument(metavar="EXCHANGE", help="Name of the exchange, such as binance.")]
Symbols = Annotated[list[str], typer.Argument(metavar="SYMBOL", help="The exchange's own ids, or aliases.")]


@dataclass(frozen=True)
class _Session:
    """One exchange, for the length of one command."""

    settings: Settings
    ctx: ExchangeContext
    option: str | None

    @property
    def sub(self) -> str:
        """Whose symbols. Raises BadSetting where neither --user nor the home says."""
        return self.settings.acting_user(self.option)

    @property
    def by(self) -> str:
        return self.settings.user or self.sub


def _with_exchange(
    exchange: str, home: Path | None, work: Callable[[_Session], Awaitable[T]], user: str | None = None
) -> T:
    from livermore_dagster.ingest.context import open_context
    from livermore_dagster.platform.attach import attach

    settings = attach(home)

    async def run() -> T:
        async with open_context(exchange, settings) as ctx:
            return await work(_Session(settings, ctx, user))

    return asyncio.run(run())


@app.command("list")
def list_symbols(exchange: Exchange, as_json: Json = False, home: Home = None) -> None:
    """Show what is monitored: the most traded, then what users want; and what was left out, and why.

    The running instance monitors exactly this; without one, it is what it would monitor.

    Example: livermore symbols list coinbase
    """
    from livermore_dagster.cli.symbols_output import monitored_facts, print_monitored
    from livermore_dagster.control.status import living_status
    from livermore_dagster.ingest.symbols import resolve_monitored
    from livermore_dagster.stores.postgres.symbols import load_symbols
    from livermore_dagster.stores.redis import keys
    from livermore_dagster.stores.redis.desired import Desired, read_desired

    async def work(session: _Session) -> list[dict[str, Any]]:
        ctx = session.ctx
        found = await resolve_monitored(ctx, await read_desired(ctx.redis, ctx.row.id) or Desired("idle"))
        instance = living_status(await ctx.redis.get(keys.status(ctx.row.id)))
        running = instance is not None and instance.running
        text = await ctx.redis.get(keys.monitored(ctx.row.id)) if running else None
        async with ctx.pool.connection() as connection:
            rows = await load_symbols(connection, ctx.row.id)
        return monitored_facts(found, rows, set(json.loads(text)) if text else None)

    facts = _with_exchange(exchange, home, work)
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        print_monitored(exchange, facts)


@app.command("search")
def search(
    exchange: Exchange,
    text: Annotated[str, typer.Argument(help="Part of an id, base or quote; case does not matter.")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=5_000)] = 20,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Find products by a part of their name, the most traded first.

    Example: livermore symbols search coinbase sol
    """
    from livermore_dagster.accounts.symbols import search as find
    from livermore_dagster.cli.symbols_output import print_products

    async def work(session: _Session) -> list[SymbolRow]:
        return find(await _listed(session.ctx), text, limit)

    found = _with_exchange(exchange, home, work)
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in found]))
    elif found:
        print_products(f"{exchange}: {text!r}", found)
    else:
        typer.echo(f"{exchange} lists nothing with {text!r} in its name.")


@app.command("add")
def add(
    exchange: Exchange, symbols: Symbols, user: User = None, as_json: Json = False, home: Home = None
) -> None:
    """Add symbols to those of a user; a running instance streams them within seconds.

    Example: livermore symbols add coinbase SOL-USD BTC-USDC
    """

    async def work(session: _Session) -> list[SymbolResult]:
        return await _add(session, dict.fromkeys(symbols, True))

    _tell(_with_exchange(exchange, home, work, user), as_json)


@app.command("remove")
def remove(
    exchange: Exchange, symbols: Symbols, user: User = None, as_json: Json = False, home: Home = None
) -> None:
    """Take symbols out of those of a user; what others want, or ranks among the first, is monitored on.

    Example: livermore symbols remove coinbase SOL-USD
    """
    from livermore_dagster.accounts.symbols import remove as take_out

    async def work(session: _Session) -> list[SymbolResult]:
        ctx = session.ctx
        async with ctx.pool.connection() as connection:
            return await take_out(connection, ctx.redis, ctx.row.name, session.sub, symbols, by=session.by)

    _tell(_with_exchange(exchange, home, work, user), as_json)


@app.command("enable")
def enable(
    exchange: Exchange, symbols: Symbols, user: User = None, as_json: Json = False, home: Home = None
) -> None:
    """Switch a user's symbols on again.

    Example: livermore symbols enable coinbase SOL-USD
    """
    _tell(_switched(exchange, symbols, user, home, enabled=True), as_json)


@app.command("disable")
def disable(
    exchange: Exchange, symbols: Symbols, user: User = None, as_json: Json = False, home: Home = None
) -> None:
    """Switch a user's symbols off; they stay in the settings.

    Example: livermore symbols disable coinbase SOL-USD
    """
    _tell(_switched(exchange, symbols, user, home, enabled=False), as_json)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with a header, JSON, or one symbol a line.")],
    exchange: Annotated[str | None, typer.Option("--exchange", "-e", help="Of lines that name none.")] = None,
    user: User = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Add all symbols of a file, with a result for each line. Exit code 1 when any was refused.

    Example: livermore symbols import mine.csv --exchange binance
    """
    from livermore_dagster.accounts.symbol_file import read_symbol_list
    from livermore_dagster.accounts.symbols import Outcome, SymbolResult
    from livermore_dagster.cli.symbols_output import print_lines
    from livermore_dagster.exchanges.factory import require_active, row_named

    text = read_text(file, LARGEST_BYTES, "Lists of symbols", "CSV, JSON or text")
    lines = read_symbol_list(text, str(file))
    if exchange is not None:
        require_active(row_named(exchange))
    wanted: dict[str, dict[str, bool]] = {}
    for line in lines:
        named = line.exchange or exchange or ""
        if not line.problem and named:
            wanted.setdefault(named, {}).setdefault(line.symbol, line.enabled)
    results: dict[tuple[str, str], SymbolResult] = {}
    for name, symbols in wanted.items():
        for one in _import_into(name, symbols, user, home):
            results[name, one.given] = one
    told: list[dict[str, Any]] = []
    for line in lines:
        named = line.exchange or exchange or ""
        if line.problem or not named:
            words = line.problem or "it names no exchange, and no --exchange was given"
            result = SymbolResult(line.symbol, Outcome.REFUSED, None, words)
        else:
            result = results[named, line.symbol]
        told.append({"line": line.number, "exchange": named or None, **asdict(result)})
    if as_json:
        typer.echo(json.dumps(told))
    else:
        print_lines(told)
    if any(one["outcome"] == Outcome.REFUSED for one in told):
        raise typer.Exit(1)


@app.command("preview")
def preview(
    exchange: Exchange,
    symbols: Symbols,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show price, 24 h volume and change of symbols before adding them. Exit code 1 for an unknown one.

    Example: livermore symbols preview binance SOLUSDT PEPEUSDT
    """
    from livermore_dagster.accounts.symbols import validate
    from livermore_dagster.cli.symbols_output import preview_facts, print_preview
    from livermore_dagster.ingest.symbols import refresh_products
    from livermore_dagster.stores.postgres.symbols import SymbolRow as Row
    from livermore_dagster.stores.redis.tickers import read_tickers

    async def work(session: _Session) -> list[dict[str, Any]]:
        ctx = session.ctx
        async with ctx.pool.connection() as connection:
            known = await validate(connection, ctx.client, ctx.row, symbols)
        ids = [one.symbol for one in known.values() if isinstance(one, Row)]
        tickers = await read_tickers(ctx.redis, ctx.row.id, ids)
        if any(symbol not in tickers for symbol in ids):
            # What is not streamed is as old as the list: that is read now.
            await refresh_products(ctx)
            async with ctx.pool.connection() as connection:
                known = await validate(connection, ctx.client, ctx.row, symbols)
        return [preview_facts(given, one, tickers) for given, one in known.items()]

    facts = _with_exchange(exchange, home, work)
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        print_preview(exchange, facts)
    if any(one["error"] for one in facts):
        raise typer.Exit(1)


@app.command("refresh")
def refresh(exchange: Exchange, as_json: Json = False, home: Home = None) -> None:
    """Read the exchange's product list anew: ranks, liquidity, what was listed, delisted or halted.

    What is monitored follows at once; Dagster shows the list as its asset `symbols`.

    Example: livermore symbols refresh coinbase
    """
    from livermore_dagster.ingest.symbols import refresh_products
    from livermore_dagster.stores.redis.symbol_events import SymbolEvent, append_symbol_event

    async def work(session: _Session) -> tuple[dict[str, Any], int, str]:
        ctx = session.ctx
        change = await refresh_products(ctx)
        event = SymbolEvent(ctx.row.id, "request", ctx.clock.now_ms(), reason="livermore symbols refresh")
        await append_symbol_event(ctx.redis, event)
        listed = sum(row.listed for row in await _listed(ctx))
        return asdict(change), listed, change.words

    change, listed, words = _with_exchange(exchange, home, work)
    if as_json:
        typer.echo(json.dumps({"exchange": exchange, "products": listed, **change}))
    else:
        typer.echo(f"{exchange} lists {listed} products. {words or 'None came, went, halted or resumed'}.")


def _switched(
    exchange: str, symbols: Sequence[str], user: str | None, home: Path | None, *, enabled: bool
) -> list[SymbolResult]:
    from livermore_dagster.accounts.symbols import set_enabled

    async def work(session: _Session) -> list[SymbolResult]:
        ctx = session.ctx
        async with ctx.pool.connection() as connection:
            return await set_enabled(
                connection, ctx.redis, ctx.row.name, session.sub, symbols, enabled=enabled, by=session.by
            )

    return _with_exchange(exchange, home, work, user)


async def _add(session: _Session, given: dict[str, bool]) -> list[SymbolResult]:
    from livermore_dagster.accounts.symbols import add as add_to

    ctx = session.ctx
    async with ctx.pool.connection() as connection:
        return await add_to(connection, ctx.redis, ctx.client, ctx.row, session.sub, given, by=session.by)


def _import_into(
    exchange: str, symbols: dict[str, bool], user: str | None, home: Path | None
) -> list[SymbolResult]:
    """A line that names an exchange that cannot be is that line's trouble, not the others'."""
    from livermore_dagster.accounts.symbols import Outcome, SymbolResult
    from livermore_dagster.errors import InactiveExchange, UnknownExchange

    try:
        return _with_exchange(exchange, home, lambda session: _add(session, symbols), user)
    except (UnknownExchange, InactiveExchange) as error:
        return [SymbolResult(symbol, Outcome.REFUSED, None, str(error)) for symbol in symbols]


async def _listed(ctx: ExchangeContext) -> list[SymbolRow]:
    """The stored list, read from the exchange first where there is none."""
    from livermore_dagster.ingest.symbols import list_in_use, refresh_products
    from livermore_dagster.stores.postgres.symbols import load_symbols

    if not await list_in_use(ctx):
        await refresh_products(ctx)
    async with ctx.pool.connection() as connection:
        return await load_symbols(connection, ctx.row.id)


def _tell(results: Sequence[SymbolResult], as_json: bool) -> None:
    """Exit code 1 when any was refused."""
    from livermore_dagster.accounts.symbols import Outcome
    from livermore_dagster.cli.symbols_output import print_results

    if as_json:
        typer.echo(json.dumps([asdict(one) for one in results]))
    else:
        print_results(results)
    if any(one.outcome is Outcome.REFUSED for one in results):
        raise typer.Exit(1)
