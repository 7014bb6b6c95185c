"""Which exchanges a start of the platform starts, and for whom (C3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import psycopg

from livermore_dagster.accounts.settings import UserSettings, load
from livermore_dagster.errors import InactiveExchange, InactiveUser, UnknownUser
from livermore_dagster.exchanges.factory import require_active, row_named
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.options import UpOptions
from livermore_dagster.platform.symbols import check_symbols
from livermore_dagster.stores.postgres.connect import conninfo
from livermore_dagster.stores.redis.client import connect
from livermore_dagster.stores.redis.desired import (
    Desired,
    Mode,
    SymbolChoice,
    read_desired_sync,
    write_desired_sync,
)

__all__ = ["Autostart", "decide_autostart", "want_autostart"]


@dataclass(frozen=True)
class Autostart:
    """`user`: sub of whose settings and symbols they start with, '' for nobody's. `mode`: of those settings;
    None where they are not asked, and it is as it was last."""

    exchanges: tuple[ExchangeRow, ...] = ()
    user: str = ""
    mode: Mode | None = None


def decide_autostart(options: UpOptions, settings: Settings, tell: Callable[[str], None]) -> Autostart:
    """What was asked for; where nothing was, what the settings of `--user`, or of this home's user, say.

    Raises UnknownUser or InactiveUser for `--user`.
    """
    sub = options.user or settings.user or ""
    if not sub:
        return Autostart(options.autostart)
    try:
        person = asyncio.run(_load(settings, sub))
    except (UnknownUser, InactiveUser) as error:
        if options.user:
            raise
        tell(f"Nobody's settings start anything: {error}")
        return Autostart(options.autostart)
    mode = person.document.runtime.mode
    if options.autostart:
        return Autostart(options.autostart, sub, mode if options.user else None)
    found: list[ExchangeRow] = []
    for name in dict.fromkeys(person.document.runtime.autostart):
        try:
            found.append(require_active(row_named(name)))
        except InactiveExchange as error:
            tell(f"Not started, though {sub}'s settings say so: {error.message}")
    if found:
        names = ", ".join(row.name for row in found)
        tell(f"Starting {names}, as runtime.autostart of {sub}'s settings says.")
    return Autostart(tuple(found), sub, mode)


def want_autostart(
    autostart: Autostart, options: UpOptions, settings: Settings, rows: Sequence[ExchangeRow]
) -> None:
    """What is started here runs; any other exchange is as it was wanted last, at first idle.

    Symbols: `--symbols`, else those of the user named by `--user`, else as it was started last. Mode: of that
    user, or of him whose settings start it, else as it was last. Raises UnknownSymbol.
    """
    started = {row.name for row in autostart.exchanges}
    with connect(settings.redis_url) as client:
        for row in (row for row in rows if row.active):
            known = read_desired_sync(client, row.id)
            if row.name in started:
                last = known.symbols if known is not None and not options.user else SymbolChoice()
                known = known or Desired("running")
                wanted = replace(
                    known,
                    state="running",
                    mode=autostart.mode or known.mode,
                    symbols=options.symbols or last,
                    user=autostart.user,
                    reason="",
                    paused=False,
                )
                check_symbols(settings, row, wanted.symbols)
                write_desired_sync(client, row.id, wanted)
            elif known is None:
                write_desired_sync(client, row.id, Desired("idle"))


async def _load(settings: Settings, sub: str) -> UserSettings:
    address = conninfo(settings.database_url, settings.database_ca)
    async with await psycopg.AsyncConnection.connect(address) as connection:
        return await load(connection, sub)
