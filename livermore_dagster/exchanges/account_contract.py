"""The account half of the adapter contract (P1): signed reads of orders, fills, fee tier and balances.

Like `Dialect` an `AccountDialect` does no I/O: it turns intentions into signed requests and bodies into typed
rows. `AccountClient` (account_client.py) sends them under the account's own rate budget. Secrets live in
`Credentials` alone, whose text and repr never show them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from livermore_dagster.exchanges.contract import BudgetFeedback, Request
from livermore_dagster.market.exchange import Product
from livermore_dagster.market.trades import AsideEntry, Balance, FeeTier, Fill, Order

__all__ = [
    "AccountDialect",
    "AccountPage",
    "Credentials",
    "PageCursor",
    "SecretHeaders",
    "SignedRequest",
    "UnknownProduct",
    "Verdict",
]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Key and secret of one account, read from the environment when needed, never written anywhere (R8)."""

    key: str = field(repr=False)
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return "Credentials(hidden)"


class SecretHeaders(dict[str, str]):
    """Headers that hold a key or a token; a traceback with local variables does not show them."""

    def __repr__(self) -> str:
        return f"SecretHeaders({', '.join(self)}: hidden)"


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A `Request` made ready to leave, with the exact query that was signed."""

    path: str
    query: str = field(repr=False)
    headers: SecretHeaders


class Verdict(StrEnum):
    """What the refusal of a signed request means."""

    CREDENTIALS = "credentials"
    """Key, signature or permissions; also what an exchange says where it does not tell a wrong time apart."""
    CLOCK = "clock"
    """The time it was signed at."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class PageCursor:
    """Where a paged read goes on, as text that is stored between runs; `market` is None for all markets.

    `token` is the exchange's own (Coinbase: cursor; Binance: the next id as text), '' at the beginning.
    `since_ms`, where the exchange can, limits the read to what happened at or after it, `until_ms`
    (Coinbase's orders) to what happened before.
    """

    market: str | None = None
    token: str = ""
    since_ms: int | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class AccountPage:
    """One validated page, oldest or newest first as the exchange has it; `next` is None at the end."""

    orders: Sequence[Order] = ()
    fills: Sequence[Fill] = ()
    aside: Sequence[AsideEntry] = ()
    """Entries of a page of fills that are none."""
    next: PageCursor | None = None


class UnknownProduct(Exception):
    """A row is of a product that the given list lacks: one that is traded no more, say.

    A signal between dialect and client, which looks the product up; callers never see it.
    """

    def __init__(self, symbol: str) -> None:
        super().__init__(symbol)
        self.symbol = symbol


class AccountDialect(Protocol):
    """One exchange's account language. Requests are intentions; `sign` makes one ready at the last moment."""

    by_market: bool
    """Orders and fills are asked market by market (Binance); otherwise for the whole account at once."""
    tiers_by_market: bool
    """Fee rates are asked market by market (Binance); otherwise one tier holds for all."""
    page_rows: int
    skewable: bool
    """A wrong time and wrong credentials get the same refusal, so that only a look at the clock tells."""

    def check_credentials(self, credentials: Credentials) -> None:
        """Raises BadSetting, without showing any of it, where the form cannot be this exchange's."""
        ...

    def sign(self, request: Request, credentials: Credentials, now_ms: int) -> SignedRequest:
        """`now_ms` is wall time corrected by what is known of the exchange's."""
        ...

    def check_request(self) -> Request:
        """The cheapest signed call that shows whether the account may be read."""
        ...

    def orders_request(self, cursor: PageCursor) -> Request: ...
    def parse_orders(self, body: bytes, cursor: PageCursor, products: Mapping[str, Product]) -> AccountPage:
        """Raises ExchangeUnavailable for a body that is not whole and valid: the page is asked again.

        Raises UnknownProduct for a row of a product that is not in `products`.
        """
        ...

    def fills_request(self, cursor: PageCursor) -> Request: ...
    def parse_fills(self, body: bytes, cursor: PageCursor, products: Mapping[str, Product]) -> AccountPage:
        """As `parse_orders`."""
        ...

    def tier_request(self, market: str | None) -> Request: ...
    def parse_tier(self, body: bytes, market: str | None) -> FeeTier: ...
    def balances_request(self, cursor: PageCursor) -> Request: ...
    def parse_balances(self, body: bytes) -> tuple[list[Balance], PageCursor | None]: ...
    def verdict(self, status: int, code: str) -> Verdict: ...
    def feedback(self, status: int, headers: Mapping[str, str], body: bytes) -> BudgetFeedback: ...
    def error_code(self, status: int, body: bytes) -> str: ...
