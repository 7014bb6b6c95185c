"""Coinbase's `user` channel: a token in the subscription itself, open orders first, then every change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from livermore_dagster.simulator.accounts.coinbase_texts import CoinbaseTexts
from livermore_dagster.simulator.accounts.directory import Account, Accounts, Trade
from livermore_dagster.simulator.accounts.signatures import NotSigned, coinbase_caller, signing_now_ms
from livermore_dagster.simulator.faults import FaultBoard, FaultKind
from livermore_dagster.simulator.outgoing import Connection

__all__ = ["CoinbaseUserChannel"]

_SNAPSHOT_ORDERS = 50
SendEvent = Callable[[Connection, str], None]


@dataclass(frozen=True, slots=True)
class _Member:
    account: Account
    products: frozenset[str]
    """Empty: all."""


class CoinbaseUserChannel:
    """Who is subscribed. `send` is given events as JSON text and numbers and stamps them."""

    def __init__(
        self,
        accounts: Accounts,
        faults: FaultBoard,
        texts: Callable[[Account], CoinbaseTexts],
        send: SendEvent,
    ) -> None:
        self.accounts, self.faults, self._texts, self._send = accounts, faults, texts, send
        self._members: dict[Connection, _Member] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        accounts.watch(self._on_trade)

    def subscribe(self, connection: Connection, message: dict[str, Any]) -> str:
        """Takes the connection in; the error text where its token does not hold."""
        try:
            if self.faults.strike(FaultKind.REVOKE_KEY) is not None:
                return "authentication failure"
            now_s = signing_now_ms(self.faults) / 1000
            account = coinbase_caller(self.accounts, str(message.get("jwt", "")), None, now_s)
        except NotSigned:
            return "authentication failure"
        products = frozenset(str(name) for name in message.get("product_ids") or [])
        self._members[connection] = _Member(account, products)
        connection.streams.add("user:")
        return ""

    def user_of(self, connection: Connection) -> str:
        """The id acknowledgements name."""
        return self._members[connection].account.user_id

    def leave(self, connection: Connection) -> None:
        self._members.pop(connection, None)
        connection.streams.discard("user:")

    def begin(self, connection: Connection) -> None:
        """Sends the snapshot, once the account's book is drawn."""
        task = asyncio.create_task(self._snapshot(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _snapshot(self, connection: Connection) -> None:
        member = self._members[connection]
        book = await member.account.opened(self.accounts.venue)
        if self._members.get(connection) is not member:
            return
        texts = self._texts(member.account)
        rows = [book.order(index) for index in reversed(book.open_orders())]
        orders = [texts.update(row) for row in rows if _concerns(member, row.listing.symbol)]
        self._emit(connection, "snapshot", orders[:_SNAPSHOT_ORDERS])

    def _on_trade(self, trade: Trade) -> None:
        book = trade.account.book
        if book is None:
            return
        row, texts = book.order(trade.order), self._texts(trade.account)
        updates = (
            [texts.update(row)] if trade.fill is None else [texts.update(row, is_new=True), texts.update(row)]
        )
        for connection, member in list(self._members.items()):
            if member.account is trade.account and _concerns(member, row.listing.symbol):
                for update in updates:
                    self._emit(connection, "update", [update])

    def _emit(self, connection: Connection, kind: str, orders: list[dict[str, str]]) -> None:
        positions: dict[str, list[Any]] = {
            "perpetual_futures_positions": [],
            "expiring_futures_positions": [],
        }
        self._send(connection, json.dumps({"type": kind, "orders": orders, "positions": positions}))


def _concerns(member: _Member, symbol: str) -> bool:
    return not member.products or symbol in member.products
