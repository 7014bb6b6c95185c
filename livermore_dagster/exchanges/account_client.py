"""Reads one account of one exchange: signed, page by page, under budgets, never by another's clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

from livermore_dagster.clock import Clock
from livermore_dagster.errors import (
    ClockSkewed,
    CredentialsRefused,
    ExchangeUnavailable,
    RequestRefused,
    UnknownSymbol,
)
from livermore_dagster.exchanges.account_contract import (
    AccountDialect,
    AccountPage,
    Credentials,
    PageCursor,
    SignedRequest,
    UnknownProduct,
    Verdict,
)
from livermore_dagster.exchanges.amounts import total
from livermore_dagster.exchanges.caller import RestCaller
from livermore_dagster.exchanges.client import ExchangeClient
from livermore_dagster.exchanges.contract import BudgetFeedback, Priority, Request
from livermore_dagster.market.exchange import ExchangeRow, Product
from livermore_dagster.market.trades import Balance, FeeTier

__all__ = ["AccountClient", "ExchangeTime"]

# A difference smaller than this refuses no signature.
_NOTICEABLE_MS = 1_000
_MEASURED_FOR_S = 600.0

T = TypeVar("T")
ParsePage = Callable[..., AccountPage]


class ExchangeTime:
    """Wall time as the exchange counts it. Its clock is asked only after it has refused ours once.

    From then on it is asked anew every ten minutes. The answer's way back is not taken off, so that the
    result is never ahead: exchanges refuse 1 s ahead and forgive seconds behind.
    """

    def __init__(self, server_time: Callable[[], Awaitable[int]], clock: Clock) -> None:
        self._server_time = server_time
        self._clock = clock
        self.offset_ms = 0
        """How far the exchange's clock is ahead of this machine's, as far as is known."""
        self._measured_at: float | None = None

    def now_ms(self) -> int:
        return self._clock.now_ms() + self.offset_ms

    async def keep_fresh(self) -> None:
        if self._measured_at is not None and self._clock.monotonic() - self._measured_at > _MEASURED_FOR_S:
            await self.measure()

    async def measure(self) -> None:
        self.offset_ms = await self._server_time() - self._clock.now_ms()
        self._measured_at = self._clock.monotonic()


class AccountClient:
    """Every read raises CredentialsRefused, ClockSkewed, RateLimited, RequestRefused or, after retries of its
    page alone, ExchangeUnavailable, whose text names what was missing or wrong; UnknownSymbol for a market
    that the exchange does not know. No error shows key or secret.
    """

    def __init__(
        self,
        row: ExchangeRow,
        dialect: AccountDialect,
        credentials: Credentials,
        caller: RestCaller,
        public: ExchangeClient,
        clock: Clock,
    ) -> None:
        """`caller` spends from the account's budget, `public` (the exchange's time, products) from its own.

        Raises BadSetting where the credentials cannot be this exchange's.
        """
        dialect.check_credentials(credentials)
        self.row = row
        self.dialect = dialect
        self.time = ExchangeTime(lambda: public.server_time(Priority.ACCOUNT), clock)
        self._credentials = credentials
        self._caller = caller
        self._public = public
        self._untraded: dict[str, Product] = {}
        """Products that the lists given to us lacked, asked for once."""

    @property
    def by_market(self) -> bool:
        """Orders and fills are read market by market: each cursor must name one."""
        return self.dialect.by_market

    @property
    def tiers_by_market(self) -> bool:
        """Fee rates may differ from market to market; otherwise one tier holds for all."""
        return self.dialect.tiers_by_market

    async def check(self) -> None:
        """One cheap signed call: returns if the exchange accepts the key and lets it read the account."""
        await self.ask(self.dialect.check_request(), self.dialect.parse_balances)

    async def orders(self, cursor: PageCursor, products: Mapping[str, Product]) -> AccountPage:
        """One page of orders, those without a fill included. Store it with its `next`: reads resume there.

        Coinbase: newest first, `since_ms` limits by *creation*: an order that was open at the last read must
        lie inside it. Binance: oldest first from the id in the token.
        """
        request = self.dialect.orders_request(cursor)
        return await self._page(request, products, partial(self.dialect.parse_orders, cursor=cursor))

    async def fills(self, cursor: PageCursor, products: Mapping[str, Product]) -> AccountPage:
        """One page of fills; order and `since_ms` (time of the fill) as for `orders`."""
        request = self.dialect.fills_request(cursor)
        return await self._page(request, products, partial(self.dialect.parse_fills, cursor=cursor))

    async def fee_tier(self, market: str | None = None) -> FeeTier:
        """What applies now; of one market where the exchange has rates by market."""
        return await self.ask(
            self.dialect.tier_request(market), lambda body: self.dialect.parse_tier(body, market)
        )

    async def balances(self) -> list[Balance]:
        """What the account holds, by currency; currencies of which it holds nothing are left out."""
        held: dict[str, Balance] = {}
        cursor: PageCursor | None = PageCursor()
        seen: set[str] = set()
        while cursor is not None:
            request = self.dialect.balances_request(cursor)
            found, cursor = await self.ask(request, self.dialect.parse_balances)
            for balance in found:
                held[balance.currency] = _joined(held.get(balance.currency), balance)
            _note(seen, cursor)
        return [held[name] for name in sorted(held) if held[name].available or held[name].hold]

    async def ask(self, request: Request, parse: Callable[[bytes], T]) -> T:
        """A signed call; refused perhaps for its time, it is made once more by the exchange's own clock."""
        await self.time.keep_fresh()
        known = self.time.offset_ms
        try:
            return await self._caller.ask(request, Priority.ACCOUNT, parse, self._sign)
        except RequestRefused as refused:
            if not await self._clock_may_be_why(refused):
                raise self._told(refused) from None
        try:
            return await self._caller.ask(request, Priority.ACCOUNT, parse, self._sign)
        except RequestRefused as refused:
            told = self._told(refused)
            # It proved no better.
            self.time.offset_ms = known
            raise told from None

    async def spend(self, weight: int) -> None:
        """Take from the account's budget for what is not a REST call: a message on the exchange's socket."""
        budget = self._caller.budget
        permit = await budget.take(weight, Priority.ACCOUNT)
        await budget.feedback(BudgetFeedback(), permit)

    async def close(self) -> None:
        await self._caller.close()
        await self._public.close()

    def _sign(self, request: Request) -> SignedRequest:
        return self.dialect.sign(request, self._credentials, self.time.now_ms())

    async def _clock_may_be_why(self, refused: RequestRefused) -> bool:
        """Looks at the exchange's clock where the refusal may be due to ours."""
        verdict = self.dialect.verdict(refused.status, refused.code)
        if verdict is Verdict.CLOCK:
            await self.time.measure()
            return True
        if verdict is Verdict.CREDENTIALS and self.dialect.skewable:
            before = self.time.offset_ms
            await self.time.measure()
            return abs(self.time.offset_ms - before) >= _NOTICEABLE_MS
        return False

    def _told(self, refused: RequestRefused) -> RequestRefused:
        """The refusal as its own kind, without anything of the credentials an exchange may echo."""
        code = self._hidden(refused.code)
        match self.dialect.verdict(refused.status, refused.code):
            case Verdict.CLOCK:
                return ClockSkewed(self.row.name, refused.status, code, self.time.offset_ms)
            case Verdict.CREDENTIALS:
                return CredentialsRefused(self.row.name, refused.status, code)
        return RequestRefused(self._hidden(refused.message), refused.status, code)

    def _hidden(self, text: str) -> str:
        for secret in (self._credentials.secret, self._credentials.key):
            text = text.replace(secret, "(hidden)")
        return text

    async def _page(
        self,
        request: Request,
        products: Mapping[str, Product],
        parse: ParsePage,
    ) -> AccountPage:
        while True:
            known = {**products, **self._untraded}
            try:
                return await self.ask(request, partial(parse, products=known))
            except UnknownProduct as unknown:
                self._untraded[unknown.symbol] = await self._look_up(unknown.symbol, known)

    async def _look_up(self, symbol: str, known: Iterable[str]) -> Product:
        """A product that the list lacks: one that is traded no more has its orders still."""
        try:
            return await self._public.product(symbol, Priority.ACCOUNT)
        except RequestRefused:
            raise UnknownSymbol(symbol, self.row.name, known) from None


def _note(seen: set[str], following: PageCursor | None) -> None:
    """Raises ExchangeUnavailable for a cursor that came before: such a list has no end."""
    if following is None:
        return
    if following.token in seen:
        raise ExchangeUnavailable("The exchange's pages go in a circle: a cursor came a second time.")
    seen.add(following.token)


def _joined(held: Balance | None, more: Balance) -> Balance:
    """Two wallets of one currency."""
    if held is None:
        return more
    return Balance(more.currency, total(held.available, more.available), total(held.hold, more.hold))
