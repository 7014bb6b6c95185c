"""How `livermore symbols` shows what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.text import Text

from livermore_dagster.accounts.monitored import MonitoredList
from livermore_dagster.accounts.symbols import Outcome, SymbolResult
from livermore_dagster.cli.console import console, plain_table
from livermore_dagster.errors import UnknownSymbol
from livermore_dagster.stores.postgres.symbols import SymbolRow
from livermore_dagster.stores.redis.tickers import Ticker

__all__ = [
    "monitored_facts",
    "preview_facts",
    "print_lines",
    "print_monitored",
    "print_preview",
    "print_products",
    "print_results",
]

_COLORS: Mapping[Outcome, str] = {
    Outcome.REFUSED: typer.colors.RED,
    Outcome.UNCHANGED: typer.colors.BRIGHT_BLACK,
}


def monitored_facts(
    found: MonitoredList, rows: Sequence[SymbolRow], running: set[str] | None
) -> list[dict[str, Any]]:
    """One per symbol. `running`: what the instance monitors, None where none runs."""
    known = {row.symbol: row for row in rows}
    facts: list[dict[str, Any]] = []
    for one in found.symbols:
        row = known[one.symbol]
        facts.append(
            {
                "symbol": one.symbol,
                "state": "chosen" if running is None else "monitored" if one.symbol in running else "coming",
                "tier": int(one.tier),
                "rank": one.rank,
                "reason": one.reason,
                "users": list(one.users),
                "asked_as": list(one.asked_as),
                "quote_volume_24h_usd": row.quote_volume_24h_usd,
                "liquidity": row.liquidity_score,
                "grade": row.liquidity_grade,
            }
        )
    going = (running or set()) - set(found.ids)
    facts += [{"symbol": symbol, "state": "going", "reason": "no longer wanted"} for symbol in sorted(going)]
    facts += [
        {"symbol": one.symbol, "state": one.why.value, "reason": "left out", "users": list(one.users)}
        for one in found.left_out
    ]
    return facts


def print_monitored(exchange: str, facts: Sequence[Mapping[str, Any]]) -> None:
    table = plain_table(
        f"Symbols of {exchange}",
        ["symbol", "state", "why"],
        ["rank", "24 h volume (USD)", "liquidity"],
        ["grade", "users"],
    )
    for one in facts:
        color = {"halted": "yellow", "delisted": "red", "unknown": "red"}.get(one["state"])
        state = Text(one["state"], color or "")
        rank = one.get("rank")
        table.add_row(
            one["symbol"],
            state,
            one["reason"],
            str(rank) if rank is not None else "–",
            _amount(one.get("quote_volume_24h_usd")),
            f"{one['liquidity']:.2f}" if one.get("liquidity") is not None else "–",
            one.get("grade") or "–",
            ", ".join(one.get("users", ())) or "–",
        )
    console().print(table)
    monitored = sum(one["state"] in ("monitored", "chosen", "coming") for one in facts)
    typer.secho(f"{monitored} symbols", dim=True, err=True)


def print_products(title: str, rows: Sequence[SymbolRow]) -> None:
    table = plain_table(
        title,
        ["symbol", "base", "quote", "state"],
        ["rank", "price", "change 24 h", "volume (USD)"],
        ["grade"],
    )
    for row in rows:
        state = (
            f"is {row.alias_of}" if row.alias_of else "trading" if row.trading else Text("halted", "yellow")
        )
        table.add_row(
            row.symbol,
            row.base,
            row.quote,
            state,
            str(row.volume_rank) if row.volume_rank is not None else "–",
            row.price or "–",
            _percent(row.change_24h_pct),
            _amount(row.quote_volume_24h_usd),
            row.liquidity_grade or "–",
        )
    console().print(table)


def preview_facts(
    given: str, found: SymbolRow | UnknownSymbol, tickers: Mapping[str, Ticker]
) -> dict[str, Any]:
    """By the live ticker where the symbol is streamed, else by the list as it was just read."""
    if isinstance(found, UnknownSymbol):
        return {"given": given, "symbol": None, "error": str(found)}
    live = tickers.get(found.symbol)
    change = live.change_24h_pct if live and live.change_24h_pct is not None else found.change_24h_pct
    return {
        "given": given,
        "symbol": found.symbol,
        "error": None,
        "trading": found.trading,
        "price": live.price if live else found.price,
        "quote": found.quote,
        "change_24h_pct": change,
        "quote_volume_24h_usd": found.quote_volume_24h_usd,
        "rank": found.volume_rank,
        "grade": found.liquidity_grade,
        "source": "ticker" if live else "list",
    }


def print_preview(exchange: str, facts: Sequence[Mapping[str, Any]]) -> None:
    table = plain_table(
        f"{exchange}, now",
        ["asked for", "symbol"],
        ["price", "change 24 h", "volume 24 h (USD)", "rank"],
        ["grade", "state"],
    )
    for one in facts:
        if one["error"]:
            typer.secho(one["error"], fg=typer.colors.RED, err=True)
            continue
        table.add_row(
            one["given"],
            one["symbol"],
            f"{one['price'] or '–'} {one['quote']}",
            _percent(one["change_24h_pct"]),
            _amount(one["quote_volume_24h_usd"]),
            str(one["rank"]) if one["rank"] is not None else "–",
            one["grade"] or "–",
            "trading" if one["trading"] else Text("halted", "yellow"),
        )
    if table.row_count:
        console().print(table)


def print_results(results: Sequence[SymbolResult]) -> None:
    for one in results:
        words = f" {one.words}" if one.words else ""
        color = _COLORS.get(one.outcome, typer.colors.GREEN)
        typer.echo(f"{typer.style(f'{one.outcome.value:9}', fg=color)} {one.symbol or one.given}{words}")


def print_lines(told: Sequence[Mapping[str, Any]]) -> None:
    for one in told:
        outcome = Outcome(one["outcome"])
        mark = typer.style(f"{outcome.value:9}", fg=_COLORS.get(outcome, typer.colors.GREEN))
        words = f" {one['words']}" if one["words"] else ""
        place = one["exchange"] or "–"
        typer.echo(f"line {one['line']:>4}  {mark} {place} {one['symbol'] or one['given'] or '–'}{words}")
    refused = sum(one["outcome"] == Outcome.REFUSED for one in told)
    typer.secho(f"{len(told) - refused} taken, {refused} refused", dim=True, err=True)


def _amount(text: str | None) -> str:
    return "–" if text is None else f"{float(text):,.0f}"


def _percent(text: str | None) -> str:
    return "–" if text is None else f"{float(text):+.2f} %"
