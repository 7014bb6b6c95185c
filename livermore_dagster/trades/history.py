"""Reads an account's orders and fills to the end of its history, then what is new, page by page.

A page and how far it brings us are stored in one transaction: a run that dies goes on with the page after the
last one stored. After the first complete read only what may have changed is asked for: fills from a little
before the newest one known; orders likewise, and those again that were not settled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from livermore_dagster.errors import BadSetting, ExchangeUnavailable, RequestRefused
from livermore_dagster.exchanges.account_contract import AccountPage, PageCursor
from livermore_dagster.incidents import IncidentName
from livermore_dagster.market.trades import AsideEntry, Fill, Order
from livermore_dagster.stores.postgres.account_reads import AccountRead, Kind, read_progress, write_progress
from livermore_dagster.stores.postgres.aside_entries import insert_aside_entries
from livermore_dagster.stores.postgres.fills import insert_fills
from livermore_dagster.stores.postgres.orders import unsettled_orders, upsert_orders
from livermore_dagster.stores.redis.metrics import count, incident
from livermore_dagster.trades.session import AccountSession

__all__ = ["OVERLAP_MS", "ReadProgress", "ReadReport", "read_history"]

log = structlog.get_logger(__name__)

OVERLAP_MS = 3_600_000
"""An exchange may list a fill later than its time says: so much of the newest history is asked for again."""
REVISITED = 20
"""So many unsettled orders are looked up one by one; where there are more, all orders since the oldest."""

REVISIT_MS = 1_000
"""The span asked for around such an order: exchanges tell times to the microsecond, we to the millisecond."""

OnProgress = Callable[["ReadProgress"], None]


@dataclass(frozen=True, slots=True)
class ReadProgress:
    """Told after every page. `reached_ms`: time of the page's last row, None for an empty page."""

    kind: Kind
    market: str
    pages: int
    rows: int
    new: int
    reached_ms: int | None


@dataclass(slots=True)
class ReadReport:
    """What one run brought."""

    kind: Kind
    pages: int = 0
    rows: int = 0
    new: int = 0
    changed: int = 0
    aside: int = 0
    """Entries not known before that are no plain fills, and in no sum."""
    resumed: bool = False
    """An earlier run had ended in the middle of a read, and this one went on from there."""
    begun_anew: bool = False
    """Or rather from the beginning of that read: the exchange refused the place that was stored."""


async def read_history(
    session: AccountSession, kind: Kind, on_progress: OnProgress | None = None
) -> ReadReport:
    """Everything of `kind` that the store does not know yet.

    Raises what the account's client raises; whatever was stored before stays, and the next run goes on there.
    """
    reader = _Reader(session, kind, on_progress)
    for market in _markets(session):
        await reader.read(market)
    return reader.report


def _markets(session: AccountSession) -> Sequence[str]:
    if not session.client.by_market:
        return [""]
    if not session.account.markets:
        name = session.row.name
        raise BadSetting(
            f"{name} tells an account's trades market by market, and {session.account.key} names none.",
            f"Name them: livermore account add {name} … --markets BTCUSDT,ETHUSDT.",
        )
    return session.account.markets


class _Reader:
    def __init__(self, session: AccountSession, kind: Kind, on_progress: OnProgress | None) -> None:
        self._session = session
        self._kind: Kind = kind
        self._on_progress = on_progress
        self.report = ReadReport(kind)

    async def read(self, market: str) -> None:
        """One market to its end. A read taken up from before is followed by one of what came since."""
        async with self._session.pool.connection() as connection:
            known = await read_progress(connection, self._session.account.id)
        read = known.get((self._kind, market), AccountRead(self._kind, market))
        if read.under_way:
            self.report.resumed = True
            read = await self._pages(read)
        old = await self._unsettled(read)
        read = await self._pages(self._begin(read, old))
        for created_ms, _ in old:
            if read.since_ms is not None and created_ms < read.since_ms:
                read = await self._revisit(read, created_ms)

    async def _unsettled(self, read: AccountRead) -> list[tuple[int, str]]:
        """Orders that may have changed since they were read: creation and id, oldest first."""
        if self._kind != "orders" or not read.complete:
            return []
        async with self._session.pool.connection() as connection:
            return await unsettled_orders(connection, self._session.account.id, read.market, REVISITED + 1)

    async def _revisit(self, read: AccountRead, created_ms: int) -> AccountRead:
        """An order of before what was just read, by the moment it was created."""
        cursor: PageCursor | None = PageCursor(None, "", created_ms, created_ms + REVISIT_MS)
        while cursor is not None:
            page = await self._fetch(cursor)
            read = await self._store(read, replace(page, next=None))
            cursor = page.next
        return read

    def _begin(self, read: AccountRead, old: Sequence[tuple[int, str]]) -> AccountRead:
        """Where a new read starts: at the beginning, or before what may have changed since the last."""
        token, since_ms = "", None
        if read.complete and self._session.client.by_market:
            # Ids count up: from the oldest that may have changed, all later ones come along.
            token = old[0][1] if old else read.token
        elif read.complete and read.newest_ms is not None:
            since_ms = read.newest_ms - OVERLAP_MS
            if len(old) > REVISITED:
                since_ms = min(since_ms, old[0][0])
        return replace(read, under_way=True, token=token, since_ms=since_ms)

    async def _pages(self, read: AccountRead) -> AccountRead:
        stored, seen = read.token, {read.token}
        while True:
            cursor = PageCursor(read.market or None, read.token, read.since_ms)
            try:
                page = await self._fetch(cursor)
            except RequestRefused as refused:
                if self.report.begun_anew or not self._stale(read, stored, refused):
                    raise
                read, stored, seen = self._renew(read, refused), "", {""}
                continue
            if page.next is not None and page.next.token in seen:
                raise ExchangeUnavailable(
                    f"{self._session.row.name}'s pages of {self._kind} go in a circle: a cursor came twice.",
                    "What was read is stored; the next run goes on from there.",
                )
            read = await self._store(read, page)
            if page.next is None:
                return read
            seen.add(page.next.token)

    def _stale(self, read: AccountRead, stored: str, refused: RequestRefused) -> bool:
        """What was refused is a cursor of an earlier run. Ids do not age: there it is the market."""
        by_id = self._session.client.by_market
        return refused.status == 400 and not by_id and bool(stored) and read.token == stored

    def _renew(self, read: AccountRead, refused: RequestRefused) -> AccountRead:
        """The read from its beginning, once: the exchange knows the place an earlier run stored no more."""
        self.report.begun_anew = True
        log.warning(
            "read_begun_anew", account=self._session.account.key, kind=self._kind, market=read.market,
            text=f"{self._session.row.name} refused the stored place in the list: {refused.code}",
        )  # fmt: skip
        return replace(read, token="")

    async def _fetch(self, cursor: PageCursor) -> AccountPage:
        products = await self._session.products()
        if self._kind == "orders":
            return await self._session.client.orders(cursor, products)
        return await self._session.client.fills(cursor, products)

    async def _store(self, read: AccountRead, page: AccountPage) -> AccountRead:
        """The page and its progress, in one transaction."""
        rows: Sequence[Order | Fill] = page.orders or page.fills
        times = [_time(row) for row in rows]
        received = len(rows) + len(page.aside)
        session, changed_fills, aside = self._session, tuple[str, ...](), 0
        async with session.pool.connection() as connection, connection.transaction():
            if self._kind == "orders":
                written = await upsert_orders(connection, session.account.id, page.orders)
                new, changed = written.new, written.changed
            else:
                inserted = await insert_fills(connection, session.account.id, page.fills)
                new, changed, changed_fills = inserted.new, 0, inserted.changed
                aside = await insert_aside_entries(connection, session.account.id, page.aside)
            newest = max([*times, *([] if read.newest_ms is None else [read.newest_ms])], default=None)
            read = replace(
                read,
                under_way=page.next is not None,
                token=page.next.token if page.next is not None else self._last_token(read, rows),
                complete=read.complete or page.next is None,
                newest_ms=newest,
                pages=read.pages + 1,
                rows_received=read.rows_received + received,
                rows_new=read.rows_new + new,
                updated_ms=session.clock.now_ms(),
            )
            await write_progress(connection, session.account.id, read)
        await self._tell(read, received, new, changed, times[-1] if times else None)
        if changed_fills:
            await self._tell_changed(changed_fills)
        if aside:
            await self._tell_aside(aside, page.aside)
        return read

    def _last_token(self, read: AccountRead, rows: Sequence[Order | Fill]) -> str:
        """Where the next read begins by id: behind the last one, as exchanges count that list by market."""
        if not self._session.client.by_market or not rows:
            return read.token if self._session.client.by_market else ""
        return str(max(int(_id(row)) for row in rows) + 1)

    async def _tell(
        self, read: AccountRead, rows: int, new: int, changed: int, reached_ms: int | None
    ) -> None:
        report = self.report
        report.pages += 1
        report.rows += rows
        report.new += new
        report.changed += changed
        if self._on_progress is not None:
            told = ReadProgress(self._kind, read.market, report.pages, report.rows, report.new, reached_ms)
            self._on_progress(told)

    async def _tell_changed(self, fills: Sequence[str]) -> None:
        """A fill is a fact: one that is told otherwise is not written over, and somebody should look."""
        session = self._session
        shown = ", ".join(fills[:5]) + (" …" if len(fills) > 5 else "")
        text = (
            f"{session.row.name} tells {len(fills)} fills of account {session.account.key} otherwise than "
            f"before: {shown}. What was stored first stands."
        )
        log.error("fills_changed", account=session.account.key, fills=list(fills[:50]), text=text)
        await incident(session.redis, IncidentName.FILL_CHANGED, session.row.id, text)

    async def _tell_aside(self, new: int, entries: Sequence[AsideEntry]) -> None:
        """`new` of the page's `entries` were not known before."""
        session = self._session
        self.report.aside += new
        types = ", ".join(sorted({entry.trade_type for entry in entries}))
        text = (
            f"{session.row.name} lists {new} entries among the fills of {session.account.key} that are "
            f"no plain fills: {types}. They are kept beside the fills and are in no sum."
        )
        log.warning("fills_aside", account=session.account.key, text=text)
        await count(session.redis, session.row.id, "fills_aside", new)
        await incident(session.redis, IncidentName.FILL_ASIDE, session.row.id, text)


def _time(row: Order | Fill) -> int:
    return row.created_ms if isinstance(row, Order) else row.filled_ms


def _id(row: Order | Fill) -> str:
    return row.order_id if isinstance(row, Order) else row.fill_id
