"""Opens the accounts of an exchange: their endpoints beside its public ones, their channel on its socket."""

from __future__ import annotations

from aiohttp import web

from livermore_dagster.simulator.accounts.binance_account import BinanceAccounts
from livermore_dagster.simulator.accounts.binance_stream import BinanceUserStream
from livermore_dagster.simulator.accounts.coinbase_account import CoinbaseAccounts
from livermore_dagster.simulator.accounts.coinbase_channel import CoinbaseUserChannel
from livermore_dagster.simulator.accounts.directory import Accounts
from livermore_dagster.simulator.accounts.paging import PageFaults
from livermore_dagster.simulator.binance_feed import BinanceFeed
from livermore_dagster.simulator.binance_rest import BinanceRest
from livermore_dagster.simulator.coinbase_feed import CoinbaseFeed
from livermore_dagster.simulator.coinbase_rest import CoinbaseRest
from livermore_dagster.simulator.feed import Feed
from livermore_dagster.simulator.rest import Rest

__all__ = ["open_accounts"]


def open_accounts(accounts: Accounts, rest: Rest, feed: Feed) -> list[web.RouteDef]:
    """The routes of the exchange's signed interface; its socket is told of the user channel."""
    pages = PageFaults(accounts, rest.faults, rest.counters)
    if isinstance(rest, CoinbaseRest) and isinstance(feed, CoinbaseFeed):
        private = CoinbaseAccounts(rest, accounts, pages)
        feed.users = CoinbaseUserChannel(accounts, rest.faults, private.texts, feed.send_user)
        return private.routes()
    if isinstance(rest, BinanceRest) and isinstance(feed, BinanceFeed):
        feed.users = BinanceUserStream(accounts, rest.faults, rest.window)
        return BinanceAccounts(rest, accounts, pages, feed.users).routes()
    raise TypeError(f"{type(rest).__name__} has no accounts")
