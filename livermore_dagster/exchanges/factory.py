"""Builds dialect, client and connection from an exchange's row; never another than the one named (X2, R6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import redis.asyncio

from livermore_dagster.clock import Clock
from livermore_dagster.errors import InactiveExchange, UnknownExchange
from livermore_dagster.exchanges.account_client import AccountClient
from livermore_dagster.exchanges.account_contract import AccountDialect, Credentials
from livermore_dagster.exchanges.binance import BinanceDialect
from livermore_dagster.exchanges.binance_account import BinanceAccountDialect
from livermore_dagster.exchanges.binance_user_stream import BinanceListenKeyChannel, BinanceSignedChannel
from livermore_dagster.exchanges.budget import Budget, RateBudget
from livermore_dagster.exchanges.caller import RestCaller
from livermore_dagster.exchanges.client import ExchangeClient
from livermore_dagster.exchanges.coinbase import CoinbaseDialect
from livermore_dagster.exchanges.coinbase_account import (
    HOURLY_BUDGET,
    SECOND_BUDGET,
    CoinbaseAccountDialect,
)
from livermore_dagster.exchanges.coinbase_user_stream import CoinbaseUserChannel
from livermore_dagster.exchanges.connection import Connection
from livermore_dagster.exchanges.contract import BudgetRule, Dialect
from livermore_dagster.exchanges.credentials import fingerprint
from livermore_dagster.exchanges.gate import Gate
from livermore_dagster.exchanges.http import HttpxPort
from livermore_dagster.exchanges.joint_budget import JointBudget
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.exchanges.user_stream import OnLimited, UserChannel, UserStream
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.market.timeframe import Timeframe

__all__ = [
    "account_client_for",
    "account_dialect_for",
    "client_for",
    "connection_for",
    "dialect_for",
    "require_active",
    "row_named",
    "user_stream_for",
]

_DIALECTS: Mapping[str, Callable[[ExchangeRow], Dialect]] = {
    "coinbase": CoinbaseDialect,
    "binance": BinanceDialect,
    "binance_us": BinanceDialect,
}

_ACCOUNT_DIALECTS: Mapping[str, Callable[[ExchangeRow], AccountDialect]] = {
    "coinbase": CoinbaseAccountDialect,
    "binance": BinanceAccountDialect,
    "binance_us": BinanceAccountDialect,
}

_USER_CHANNELS: Mapping[str, Callable[[ExchangeRow, Credentials, AccountClient], UserChannel]] = {
    "coinbase": lambda row, credentials, account: CoinbaseUserChannel(row, credentials, account.time.now_ms),
    "binance": BinanceSignedChannel,
    "binance_us": lambda row, _, account: BinanceListenKeyChannel(row, account),
}


def row_named(name: str, rows: Sequence[ExchangeRow] = ROWS) -> ExchangeRow:
    """Raises UnknownExchange, which names what was given and what exists."""
    for row in rows:
        if row.name == name:
            return row
    raise UnknownExchange(name, [row.name for row in rows])


def require_active(row: ExchangeRow, rows: Sequence[ExchangeRow] = ROWS) -> ExchangeRow:
    """Raises InactiveExchange for a row that is switched off or has no adapter here."""
    if not row.active or row.name not in _DIALECTS:
        raise InactiveExchange(row.name, [r.name for r in rows if r.active and r.name in _DIALECTS])
    return row


def dialect_for(row: ExchangeRow) -> Dialect:
    """Raises UnknownExchange or InactiveExchange."""
    row_named(row.name)
    return _DIALECTS[require_active(row).name](row)


def start_rule(row: ExchangeRow, dialect: Dialect) -> BudgetRule:
    """The cautious budget before the exchange has stated its limit, never above the row's own."""
    rest = row.api_limits["rest"]
    known = BudgetRule(int(rest["capacity"] * row.api_limits["use"]), int(rest["window_ms"]))
    start = dialect.quirks.budget
    if start.capacity * known.window_ms <= known.capacity * start.window_ms:
        return start
    return known


def client_for(
    row: ExchangeRow, redis: redis.asyncio.Redis, clock: Clock, *, budget: Budget | None = None
) -> ExchangeClient:
    """The exchange's REST client under its shared budget."""
    dialect = dialect_for(row)
    if budget is None:
        budget = RateBudget(redis, row.id, start_rule(row, dialect), clock)
    return ExchangeClient(row, dialect, HttpxPort(row.rest_url), budget, redis, clock)


def connection_for(
    row: ExchangeRow,
    symbols: Sequence[str],
    timeframes: Sequence[Timeframe],
    clock: Clock,
    name: str,
    *,
    ack_patience_s: float = 10.0,
) -> Connection:
    """One connection for at most `quirks.symbols_per_connection` symbols."""
    return Connection(row, dialect_for(row), symbols, timeframes, clock, name, ack_patience_s=ack_patience_s)


def account_dialect_for(row: ExchangeRow) -> AccountDialect:
    """Raises UnknownExchange or InactiveExchange."""
    row_named(row.name)
    return _ACCOUNT_DIALECTS[require_active(row).name](row)


def account_client_for(
    row: ExchangeRow,
    credentials: Credentials,
    redis: redis.asyncio.Redis,
    clock: Clock,
    *,
    budget: Budget | None = None,
) -> AccountClient:
    """The reader of one account. Nothing is sent until it is asked.

    Raises UnknownExchange or InactiveExchange; BadSetting where the credentials cannot be this exchange's.
    """
    dialect = account_dialect_for(row)
    public = client_for(row, redis, clock)
    spent = budget or account_budget(row, credentials, public, redis, clock)
    caller = RestCaller(row, dialect, HttpxPort(row.rest_url), spent, redis, clock)
    return AccountClient(row, dialect, credentials, caller, public, clock)


def user_stream_for(
    row: ExchangeRow,
    credentials: Credentials,
    redis: redis.asyncio.Redis,
    clock: Clock,
    gate: Gate,
    on_limited: OnLimited,
) -> UserStream:
    """The account's own channel, to be entered with `async with`. `gate` is that of all connections to the
    exchange. Raises as `account_client_for`."""
    account = account_client_for(row, credentials, redis, clock)
    channel = _USER_CHANNELS[row.name](row, credentials, account)
    name = f"user-{row.name}-{fingerprint(credentials)[:6]}"
    return UserStream(name, channel, account, clock, gate, on_limited)


def account_budget(
    row: ExchangeRow,
    credentials: Credentials,
    public: ExchangeClient,
    redis: redis.asyncio.Redis,
    clock: Clock,
) -> Budget:
    """Coinbase limits its private calls by key; Binance limits all calls of an address together."""
    if row.name != "coinbase":
        return public.budget
    name = f"account-{fingerprint(credentials)}"
    return JointBudget(
        RateBudget(redis, row.id, HOURLY_BUDGET, clock, f"{name}-hour"),
        RateBudget(redis, row.id, SECOND_BUDGET, clock, name),
    )
