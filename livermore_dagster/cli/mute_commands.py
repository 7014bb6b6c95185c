"""`livermore mute`, `unmute` and `mutes`: silence for an exchange, a symbol, a timeframe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livermore_dagster.cli.store_session import Home, Json, StoreSession, User, in_session
from livermore_dagster.errors import BadSetting
from livermore_dagster.market.moments import utc_text

if TYPE_CHECKING:
    from livermore_dagster.accounts.settings import UserSettings

__all__ = ["mute", "mutes", "unmute"]

Exchange = Annotated[str | None, typer.Argument(help="coinbase, binance … or 'any'.")]
Symbol = Annotated[str | None, typer.Argument(help="The exchange's own id; all of it where none is given.")]
Frame = Annotated[str | None, typer.Option("--timeframe", "-t", help="This timeframe only.")]
ANY = "any"


def mute(
    exchange: Exchange = None,
    symbol: Symbol = None,
    timeframe: Frame = None,
    for_: Annotated[str | None, typer.Option("--for", help="A span such as 30m, 4h, 2d.")] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="A time (ISO 8601; UTC without offset).")
    ] = None,
    as_json: Json = False,
    user: User = None,
    home: Home = None,
) -> None:
    """Tell nothing of an exchange, a symbol or a timeframe, for a while or for good; at once.

    Alerts are stored all the same. 'any' stands for every exchange.

    Example: livermore mute binance DOGEUSDT --for 4h
    """

    async def work(session: StoreSession) -> tuple[UserSettings, dict[str, Any]]:
        now_ms = _now_ms(session)
        wanted = await _named(session, exchange, symbol, timeframe)
        wanted["until_ms"] = _until_ms(for_, until, now_ms)
        found, kept = await _mutes(session)
        # The same again replaces; what has run out goes.
        kept = [one for one in kept if _key(one) != _key(wanted) and not _over(one, now_ms)]
        return await _write(session, found, [*kept, wanted]), wanted

    found, wanted = in_session(work, home, user)
    if as_json:
        typer.echo(json.dumps({"user": found.sub, "revision": found.revision, "mute": wanted}))
    else:
        typer.echo(f"Muted: {_words(wanted)}.")


def unmute(
    exchange: Exchange = None,
    symbol: Symbol = None,
    timeframe: Frame = None,
    everything: Annotated[bool, typer.Option("--all", help="End every mute.")] = False,
    as_json: Json = False,
    user: User = None,
    home: Home = None,
) -> None:
    """End a mute, named as it was made; or all with --all.

    Example: livermore unmute binance DOGEUSDT
    """

    async def work(session: StoreSession) -> tuple[UserSettings, list[dict[str, Any]]]:
        found, before = await _mutes(session)
        if everything:
            return await _write(session, found, []), before
        if (exchange in (None, ANY)) and symbol is None and timeframe is None:
            raise BadSetting("Which mute shall end?", "Name it as livermore mutes shows it, or give --all.")
        wanted = await _named(session, exchange, symbol, timeframe)
        await session.connection.commit()
        ended = [one for one in before if _key(one) == _key(wanted)]
        if not ended:
            known = "; ".join(_words(one) for one in before)
            raise BadSetting(
                f"There is no mute of {_words(wanted)}.", f"Mutes: {known}." if known else "Nothing is muted."
            )
        kept = [one for one in before if one not in ended]
        return await _write(session, found, kept), ended

    found, ended = in_session(work, home, user)
    if as_json:
        typer.echo(json.dumps({"user": found.sub, "revision": found.revision, "ended": ended}))
    else:
        typer.echo(f"Ended: {'; '.join(_words(one) for one in ended) or 'nothing was muted'}.")


def mutes(as_json: Json = False, user: User = None, home: Home = None) -> None:
    """Show what is muted, and until when.

    Example: livermore mutes
    """

    async def work(session: StoreSession) -> list[dict[str, Any]]:
        now_ms = _now_ms(session)
        _, found = await _mutes(session)
        return [{**one, "over": _over(one, now_ms)} for one in found]

    rows = in_session(work, home, user)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        typer.echo(f"{_words(row)}{' (over)' if row['over'] else ''}")
    if not rows:
        typer.echo("Nothing is muted.")


async def _named(
    session: StoreSession, exchange: str | None, symbol: str | None, timeframe: str | None
) -> dict[str, Any]:
    """What is meant, under its canonical names. Raises for what does not exist (R6)."""
    from livermore_dagster.cli.lookup import canonical_symbol, find_exchange
    from livermore_dagster.market.timeframe import Timeframe

    frame = Timeframe.parse(timeframe).value if timeframe is not None else None
    if exchange is None and frame is None:
        raise BadSetting(
            "What shall it be?", "Name an exchange, a symbol or --timeframe: livermore mute --help"
        )
    row = None if exchange in (None, ANY) else await find_exchange(session.connection, str(exchange))
    known = None if symbol is None else await canonical_symbol(session.connection, row, symbol)
    if row is None and known is None and frame is None:
        raise BadSetting(
            "That would mute everything.", "For that: livermore settings set alerts.enabled false"
        )
    return {"exchange": row.name if row else None, "symbol": known, "timeframe": frame, "until_ms": None}


async def _mutes(session: StoreSession) -> tuple[UserSettings, list[dict[str, Any]]]:
    from livermore_dagster.accounts.settings import load

    found = await load(session.connection, session.user)
    # Ended here: a change is told when it is committed, and is so only in a transaction of its own.
    await session.connection.commit()
    return found, [one.model_dump(mode="json") for one in found.document.alerts.mutes]


async def _write(session: StoreSession, found: UserSettings, rows: list[dict[str, Any]]) -> UserSettings:
    from livermore_dagster.accounts.settings import patch

    by = session.settings.user or found.sub
    return await patch(
        session.connection, session.redis, found.sub, "alerts.mutes", rows, by=by, made_from=found.revision
    )


def _until_ms(span: str | None, until: str | None, now_ms: int) -> int | None:
    """Market time at which the mute ends. Raises BadSetting for what is no span or time to come."""
    from livermore_dagster.cli.arguments import SPANS_MS, epoch_ms

    if span is not None and until is not None:
        raise BadSetting("--for and --until say the same thing.", "Give one of them.")
    if span is not None:
        unit_ms = SPANS_MS.get(span[-1:])
        if unit_ms is None or not span[:-1].isdecimal() or int(span[:-1]) < 1:
            raise BadSetting(f"--for {span!r} is not a span.", "Write it like 30m, 4h or 2d.")
        return now_ms + int(span[:-1]) * unit_ms
    if until is None:
        return None
    at_ms = epoch_ms(until, "--until", "Write it like 2026-01-05T06:00:00Z.")
    if at_ms <= now_ms:
        raise BadSetting(
            f"--until {until!r} has passed: there it is {utc_text(now_ms)} UTC.", "Give a later time."
        )
    return at_ms


def _now_ms(session: StoreSession) -> int:
    from livermore_dagster.platform.watch import MarketTime

    return MarketTime.of(session.settings).now_ms()


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["exchange"], row["symbol"], row["timeframe"]


def _over(row: dict[str, Any], now_ms: int) -> bool:
    return row["until_ms"] is not None and row["until_ms"] <= now_ms


def _words(row: dict[str, Any]) -> str:
    """'binance DOGEUSDT 5m until 2026-01-05 06:00:00 UTC'."""
    named = " ".join(
        part for part in (row["exchange"] or "every exchange", row["symbol"], row["timeframe"]) if part
    )
    if row["until_ms"] is None:
        return named
    return f"{named} until {utc_text(row['until_ms'])} UTC"
