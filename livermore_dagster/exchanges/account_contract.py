"""The account half of the adapter contract (P1): signed reads of orders, fills, fee tier and balances.

Like `Dialect` an `AccountDialect` does no I/O: it turns intentions into signed requests and bodies into typed
rows. `AccountClient` (account_client.py) sends them under the account's own rate budget. Secrets live in
`Credentials` alone, whose text and repr never show them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from livermore_dagster.exchanges.contract import BudgetFeedback, BudgetRule
from livermore_dagster.market.exchange import Product
from livermore_dagster.market.trades import Balance, FeeTier, Fill, Order

__all__ = [
    "AccountDialect",
    "AccountPage",
    "Credentials",
    "PageCursor",
    "SignedRequest",
]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Key and secret of one account, read from the environment when needed, never written anywhere (R8)."""

    key: str = field(repr=False)
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return "Credentials(hidden)"


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """One authenticated GET. `path` ends in the exact query that was signed; headers may hold secrets."""

    endpoint: str
    path: str
    weight: int
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class PageCursor:
    """Where a paged read goes on, as text that is stored between runs; `market` is None for all markets.

    `token` is the exchange's own (Coinbase: cursor; Binance: the next id as text), '' at the beginning.
    `since_ms`, where the exchange can, limits the read to what happened at or after it.
    """

    market: str | None = None
    token: str = ""
    since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class AccountPage:
    """One validated page, oldest or newest first as the exchange has it; `next` is None at the end."""

    orders: Sequence[Order] = ()
    fills: Sequence[Fill] = ()
    next: PageCursor | None = None


class AccountDialect(Protocol):
    """One exchange's account language. `now_ms` is wall time corrected by the exchange's stated time."""

    budget: BudgetRule
    """Of one credential, apart from the public one."""
    by_market: bool
    """Orders and fills are asked market by market (Binance); otherwise for the whole account at once."""
    page_rows: int

    def check_credentials(self, credentials: Credentials) -> None:
        """Raises BadSetting, without showing any of it, where the form cannot be this exchange's."""
        ...

    def orders_request(self, credentials: Credentials, cursor: PageCursor, now_ms: int) -> SignedRequest: ...
    def parse_orders(self, body: bytes, cursor: PageCursor, products: Mapping[str, Product]) -> AccountPage:
        """Raises ExchangeUnavailable for a body that is not whole and valid: the page is asked again."""
        ...

    def fills_request(self, credentials: Credentials, cursor: PageCursor, now_ms: int) -> SignedRequest: ...
    def parse_fills(
        self, body: bytes, cursor: PageCursor, products: Mapping[str, Product]
    ) -> AccountPage: ...
    def tier_requests(
        self, credentials: Credentials, market: str | None, now_ms: int
    ) -> Sequence[SignedRequest]: ...
    def parse_tier(self, bodies: Sequence[bytes]) -> FeeTier: ...
    def balances_request(
        self, credentials: Credentials, cursor: PageCursor, now_ms: int
    ) -> SignedRequest: ...
    def parse_balances(self, body: bytes) -> tuple[list[Balance], PageCursor | None]: ...
    def feedback(self, status: int, headers: Mapping[str, str], body: bytes) -> BudgetFeedback: ...
    def error_code(self, status: int, body: bytes) -> str: ...
