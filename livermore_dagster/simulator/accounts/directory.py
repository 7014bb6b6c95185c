"""The accounts of one simulated exchange: who they are, and their books, drawn when first asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from livermore_dagster.errors import BadSetting
from livermore_dagster.simulator.accounts.book import Book, CannotTrade
from livermore_dagster.simulator.accounts.draw import Sizes
from livermore_dagster.simulator.accounts.history import traded
from livermore_dagster.simulator.accounts.journal import Journal
from livermore_dagster.simulator.accounts.keys import DEMO_ACCOUNT, KeyType, account_uuid, demo_credentials
from livermore_dagster.simulator.venue import Venue

__all__ = ["Account", "Accounts", "Trade"]


@dataclass(frozen=True, slots=True)
class Trade:
    """Something that happened to an account now; `fill` is None for an order that was cancelled."""

    account: Account
    order: int
    fill: int | None


@dataclass(eq=False)
class Account:
    """One account and its key. `book` is None until it is drawn."""

    name: str
    key: str
    secret: str = field(repr=False)
    key_type: KeyType
    sizes: Sizes
    user_id: str
    book: Book | None = None
    past: list[dict[str, Any]] = field(default_factory=list)
    """What happened in earlier starts, to be booked when the book is drawn."""
    _drawing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def opened(self, venue: Venue) -> Book:
        """The account's book; drawn beside the sockets, a million fills take seconds."""
        async with self._drawing:
            if self.book is None:
                self.book = await asyncio.to_thread(self._draw, venue)
        return self.book

    def _draw(self, venue: Venue) -> Book:
        book = Book(venue, self.name, self.sizes)
        for event in self.past:
            if event["what"] == "cancel":
                book.cancel(event["order"], event["at_ms"])
                continue
            size = Decimal(event["size"])
            _, fill = book.place(
                event["symbol"], sell=event["sell"], size=size, maker=event["maker"], at_ms=event["at_ms"]
            )
            if "trade_type" in event:
                book.trade_types[fill] = event["trade_type"]
        return book


class Accounts:
    """All accounts of one exchange; `watch` hears of every live trade."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self._by_name: dict[str, Account] = {}
        self._by_key: dict[str, Account] = {}
        self._watchers: list[Callable[[Trade], None]] = []
        self._journal = Journal()
        sizes = Sizes()
        able = len(traded(venue, sizes.symbols))
        self.create(DEMO_ACCOUNT, Sizes(sizes.orders, min(sizes.symbols, able)), KeyType.ES256)

    def create(self, name: str, sizes: Sizes, key_type: KeyType) -> Account:
        """Raises CannotTrade for a name taken or more products than the exchange lists."""
        if name in self._by_name:
            raise CannotTrade(f"account {name!r} exists")
        able = len(traded(self.venue, sizes.symbols))
        if able < sizes.symbols:
            raise CannotTrade(
                f"symbols {sizes.symbols}: {self.venue.name} lists {able} that can be traded; "
                "start the simulator with more --symbols"
            )
        key, secret = demo_credentials(self.venue.seed, self.venue.name, name, key_type)
        user_id = account_uuid(self.venue.seed, self.venue.name, name, "user")
        account = Account(name, key, secret, key_type, sizes, user_id)
        self._by_name[name] = self._by_key[key] = account
        if name != DEMO_ACCOUNT:
            self._journal.note(what="account", account=name, key_type=key_type.value, sizes=asdict(sizes))
        return account

    def recall(self, path: Path) -> None:
        """Accounts and trades of earlier starts, from now on kept at `path`. Raises BadSetting."""
        journal = Journal(path)
        for event in journal.events():
            if event["what"] == "account":
                try:
                    self.create(event["account"], Sizes(**event["sizes"]), KeyType(event["key_type"]))
                except CannotTrade as error:
                    raise BadSetting(
                        f"The account {event['account']} of {path} cannot be made again: {error}.",
                        "Start as before, or remove that file to forget what it holds.",
                    ) from error
            else:
                self.named(event["account"]).past.append(event)
        self._journal = journal

    def all(self) -> list[Account]:
        return list(self._by_name.values())

    def named(self, name: str) -> Account:
        """Raises CannotTrade for an unknown one."""
        found = self._by_name.get(name)
        if found is None:
            raise CannotTrade(f"unknown account {name!r}; there are {', '.join(self._by_name)}")
        return found

    def with_key(self, key: str) -> Account | None:
        """The account a key belongs to, if any."""
        return self._by_key.get(key)

    def watch(self, watcher: Callable[[Trade], None]) -> None:
        self._watchers.append(watcher)

    async def trade(
        self,
        account: Account,
        symbol: str,
        *,
        sell: bool,
        size: Decimal | None,
        maker: bool,
        trade_type: str | None = None,
    ) -> Trade:
        """One trade at the market's price, told to all watchers. Raises CannotTrade.

        `trade_type`: what the exchange calls its entry where that is no plain fill.
        """
        book = await account.opened(self.venue)
        order, fill = book.place(symbol, sell=sell, size=size, maker=maker)
        done = book.fill(fill)
        about: dict[str, Any] = {"symbol": symbol, "sell": sell, "size": str(done.size), "maker": maker}
        if trade_type is not None:
            book.trade_types[fill] = about["trade_type"] = trade_type
        self._journal.note(what="trade", account=account.name, at_ms=done.at_ms, **about)
        return self._told(Trade(account, order, fill))

    async def change(self, account: Account) -> None:
        """What happens while somebody pages: a new trade, and an open order taken back."""
        book = await account.opened(self.venue)
        await self.trade(account, book.listings[0].symbol, sell=False, size=None, maker=False)
        for order in book.open_orders()[-1:]:
            book.cancel(order)
            at_ms = book.order(order).updated_ms
            self._journal.note(what="cancel", account=account.name, at_ms=at_ms, order=order)
            self._told(Trade(account, order, None))

    def _told(self, trade: Trade) -> Trade:
        for watcher in self._watchers:
            watcher(trade)
        return trade
