"""`livermore alerts`: what was raised, and what is being raised."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from livermore_dagster.cli.store_session import Home

if TYPE_CHECKING:
    from livermore_dagster.market.timeframe import Timeframe
    from livermore_dagster.platform.config import Settings
    from livermore_dagster.stores.postgres.alerts import StoredAlert
    from livermore_dagster.stores.postgres.connect import Pool

__all__ = ["alerts"]

KNOWN: Final = 1_000
"""Newest alerts that are remembered. Ids are given before they are committed: what is new after a break can
have one so much below the newest that was shown."""
LOOK_S: Final = 10.0
"""How often alerts that were shown are looked at for having been withdrawn."""
AGAIN_S: Final = 1.0

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filters:
    exchange: str | None
    symbol: str | None
    timeframe: Timeframe | None
    label: str | None
    since_ms: int

    def fits(self, row: Row) -> bool:
        """Whether a published alert is wanted; the database is asked with the same filters."""
        return (
            self.exchange in (None, row["source_exchange"])
            and self.symbol in (None, row["symbol"])
            and self.timeframe in (None, row["timeframe"])
            and self.label in (None, row["label"], row["kind"])
            and row["candle_end_ms"] >= self.since_ms
        )


def alerts(
    exchange: Annotated[str | None, typer.Option("--exchange", "-e", help="Of this exchange only.")] = None,
    symbol: Annotated[str | None, typer.Option("--symbol", "-s", help="Of this symbol only.")] = None,
    timeframe: Annotated[
        str | None, typer.Option("--timeframe", "-t", help="Of this timeframe only: 1m … 1d.")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", "-l", help="Such as level_-150 or reversal_oversold; or level, or reversal."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Of candles that ended since: 2026-01-05T00:00:00Z, or 90m, 6h, 2d.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="Newest so many.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Then show new ones as they come.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON list; with --follow one JSON object a line.")
    ] = False,
    home: Home = None,
) -> None:
    """Show the newest alerts; with --follow, new ones as they come, until Ctrl-C.

    Late ones were judged after their time, revised ones by a correction of the exchange; a withdrawn one no
    longer holds after such a correction.

    Example: livermore alerts --exchange binance --label reversal --since 6h --follow
    """
    from livermore_dagster.cli.arguments import moment
    from livermore_dagster.platform.attach import attach
    from livermore_dagster.platform.watch import MarketTime

    checked = _label(label)
    settings = attach(home)
    since_ms = moment(since, "--since", MarketTime.of(settings).now_ms()) or 0
    try:
        filters = asyncio.run(_filters(settings, exchange, symbol, timeframe, checked, since_ms))
        if follow:
            asyncio.run(_Follower(settings, filters, limit, _line(as_json)).run())
        else:
            _show(asyncio.run(_read(settings, filters, limit)), as_json)
    except KeyboardInterrupt:
        return


def _label(text: str | None) -> str | None:
    """Raises BadSetting, which names the labels there are."""
    from livermore_dagster.errors import BadSetting
    from livermore_dagster.market.alert_rules import LEVELS

    levels = [f"level_{sign}{level}" for level in LEVELS for sign in ("", "-")]
    known = ["level", "reversal", "reversal_oversold", "reversal_overbought", *levels]
    if text is not None and text not in known:
        raise BadSetting(f"--label {text!r} is no label.", f"Labels: {', '.join(known)}.")
    return text


async def _filters(
    settings: Settings,
    exchange: str | None,
    symbol: str | None,
    timeframe: str | None,
    label: str | None,
    since_ms: int,
) -> Filters:
    """Raises UnknownExchange, InactiveExchange, UnknownSymbol or UnknownTimeframe."""
    from livermore_dagster.cli.lookup import canonical_symbol, find_exchange, open_stores
    from livermore_dagster.market.timeframe import Timeframe

    wanted = Timeframe.parse(timeframe) if timeframe is not None else None
    async with open_stores(settings) as stores, stores.pool.connection() as connection:
        row = await find_exchange(connection, exchange) if exchange is not None else None
        if symbol is not None:
            symbol = await canonical_symbol(connection, row, symbol)
    return Filters(exchange, symbol, wanted, label, since_ms)


async def _read(settings: Settings, filters: Filters, limit: int) -> list[Row]:
    from livermore_dagster.cli.lookup import open_stores

    async with open_stores(settings) as stores:
        return await _stored(stores.pool, filters, limit)


async def _stored(pool: Pool, filters: Filters, limit: int | None, after_id: int = 0) -> list[Row]:
    """The newest `limit`, all for None, oldest first."""
    from livermore_dagster.stores.postgres.alerts import read_alerts

    async with pool.connection() as connection:
        found = await read_alerts(
            connection, exchange=filters.exchange, symbol=filters.symbol, timeframe=filters.timeframe,
            label=filters.label, since_ms=filters.since_ms, after_id=after_id, limit=limit,
        )  # fmt: skip
    return [_row(one) for one in found]


def _row(stored: StoredAlert) -> Row:
    """As it is published, and what became of it."""
    from livermore_dagster.ingest.alert_rows import alert_facts

    facts = alert_facts(stored.exchange_id, stored.exchange, stored.alert)
    return {**facts, "withdrawn_ms": stored.withdrawn_ms, "published_ms": stored.published_ms}


def _heard(message: str, now_ms: int) -> Row:
    """The same of one published just now. `now_ms`: wall clock."""
    return {**json.loads(message), "withdrawn_ms": None, "published_ms": now_ms}


def _show(rows: list[Row], as_json: bool) -> None:
    from livermore_dagster.cli.market_tables import show_alerts

    if as_json:
        typer.echo(json.dumps(rows))
    elif rows:
        show_alerts(rows)
    else:
        typer.echo("No such alert is stored yet.", err=True)


def _line(as_json: bool) -> Callable[[Row], None]:
    from livermore_dagster.cli.console import console
    from livermore_dagster.cli.market_tables import alert_heading, alert_line

    if as_json:
        return lambda row: typer.echo(json.dumps(row))
    screen = console()
    if screen.is_terminal:
        screen.print(alert_heading(screen.width), soft_wrap=True)
    return lambda row: screen.print(alert_line(row, screen.width), soft_wrap=True)


@dataclass
class _Follower:
    """Subscribes first and reads the stored ones then: nothing falls between. Each is shown once."""

    settings: Settings
    filters: Filters
    limit: int
    show: Callable[[Row], None]
    _known: dict[int, Row] = field(default_factory=dict)
    _oldest: int = 0
    """The newest alert there was at the beginning."""
    _begun: bool = False

    async def run(self) -> None:
        """Until cancelled. Servers that go away are waited for."""
        import psycopg
        import redis

        from livermore_dagster.cli.lookup import open_stores
        from livermore_dagster.errors import PlatformError
        from livermore_dagster.stores.redis import keys

        waiting = False
        while True:
            try:
                async with open_stores(self.settings) as stores:
                    pubsub = stores.redis.pubsub()
                    try:
                        await pubsub.psubscribe(keys.CHANNEL_ALERTS_ALL)
                        # Sent is not yet heard: what is published before Redis has taken it comes to nobody.
                        await pubsub.get_message(ignore_subscribe_messages=True, timeout=LOOK_S)
                        await self._catch_up(stores.pool)
                        if waiting:
                            typer.echo("Back: nothing was missed.", err=True)
                        waiting = False
                        await self._listen(pubsub, stores.pool)
                    finally:
                        await cast("Any", pubsub).aclose()
            except BrokenPipeError:
                raise  # who reads our output has gone; of a server's connection it is told otherwise
            except (redis.RedisError, psycopg.OperationalError, PlatformError, OSError) as error:
                if not self._begun:
                    raise
                if not waiting:
                    typer.echo(f"Waiting for the servers: {error}", err=True)
                waiting = True
            await asyncio.sleep(AGAIN_S)

    async def _catch_up(self, pool: Pool) -> None:
        """The first time the newest few; after a break all that is new, however much."""
        if self._begun:
            after_id = max(self._oldest, max(self._known, default=0) - KNOWN)
            stored = shown = await _stored(pool, self.filters, None, after_id)
        else:
            stored = await _stored(pool, self.filters, max(KNOWN, self.limit))
            shown = stored[-self.limit :]
            self._oldest = max((row["id"] for row in stored), default=0)
            if not stored:
                typer.echo("No such alert is stored yet; waiting for the first.", err=True)
        for row in shown:
            if row["id"] not in self._known:
                self.show(row)
        self._known |= {row["id"]: row for row in stored}
        self._forget()
        self._begun = True

    async def _listen(self, pubsub: Any, pool: Pool) -> None:
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while True:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=LOOK_S)
            if message is not None:
                self._take(_heard(message["data"], time.time_ns() // 1_000_000))
            if loop.time() - looked >= LOOK_S:
                looked = loop.time()
                await self._tell_withdrawn(pool)

    def _take(self, row: Row) -> None:
        """One that is published again after a crash was shown before."""
        if row["id"] not in self._known and self.filters.fits(row):
            self._known[row["id"]] = row
            self.show(row)
            self._forget()

    def _forget(self) -> None:
        for oldest in sorted(self._known)[: -2 * KNOWN]:
            del self._known[oldest]

    async def _tell_withdrawn(self, pool: Pool) -> None:
        from livermore_dagster.stores.postgres.alerts import read_withdrawn

        open_ids = [number for number, row in self._known.items() if row.get("withdrawn_ms") is None]
        async with pool.connection() as connection:
            gone = await read_withdrawn(connection, open_ids)
        for number, at_ms in gone.items():
            row = self._known[number] = {**self._known[number], "withdrawn_ms": at_ms}
            self.show(row)
