"""The one contract that hides an exchange (P1).

A `Dialect` is the exchange's language and nothing else: it turns intentions into requests and messages, and
bodies and frames into typed events. It does no I/O, keeps no connection and knows no clock, so recorded
bytes are enough to test it. `ExchangeClient` (client.py) speaks it over HTTP under the rate budget;
`Connection` (connection.py) speaks it over one WebSocket. What differs by number or flag is in `Quirks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import msgspec

from livermore_dagster.market.candle import Candle
from livermore_dagster.market.exchange import Product
from livermore_dagster.market.timeframe import Timeframe

__all__ = [
    "Ack",
    "BudgetFeedback",
    "BudgetRule",
    "CandleFrame",
    "Dialect",
    "ErrorFrame",
    "Heartbeat",
    "Priority",
    "Quirks",
    "Refusal",
    "Request",
    "RestCandle",
    "SequenceGap",
    "ShutdownNotice",
    "StreamEvent",
    "TickerFrame",
]


class Priority(StrEnum):
    """Who goes first when the budget is short."""

    BOUNDARY = "boundary"
    REPAIR = "repair"
    WARMUP = "warmup"
    ACCOUNT = "account"
    BROWSE = "browse"


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """`capacity` units of weight per `window_ms` for one exchange and credential."""

    capacity: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class BudgetFeedback:
    """What a reply said of the budget. `used` of the current window, or `remaining`, where it says so.

    `retry_after_ms` is set for a refusal (429, 418): the budget closes for that long. `guessed`: the exchange
    did not say how long; it is closed twice as long after each refusal of late. `admitted`: the exchange let
    the request in and answered it; after a refusal only that opens the budget again for all.
    """

    used: int | None = None
    remaining: int | None = None
    retry_after_ms: int | None = None
    guessed: bool = False
    admitted: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One REST call. `endpoint` is its short name in counters ('candles', 'products', 'time', 'tickers')."""

    endpoint: str
    path: str
    weight: int
    params: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"


class RestCandle(msgspec.Struct, frozen=True, gc=False):
    """A row of a REST reply, closed or still open; the caller judges that by the exchange's clock."""

    candle: Candle
    trades: int = -1


class CandleFrame(msgspec.Struct, frozen=True, gc=False):
    """A candle as streamed. `closed` is the exchange's own flag, None where it has none.

    A struct as its candle is.
    """

    symbol: str
    timeframe: Timeframe
    candle: Candle
    event_ms: int
    """Envelope time of the frame, exchange clock."""
    snapshot: bool = False
    closed: bool | None = None
    trades: int = -1


class TickerFrame(msgspec.Struct, frozen=True, gc=False):
    """P14. Prices in quote currency; `change_24h_pct` in percent; `volume_24h` in base. Canonical text."""

    symbol: str
    price: str
    bid: str | None
    ask: str | None
    change_24h_pct: str | None
    high_24h: str | None
    low_24h: str | None
    volume_24h: str | None
    quote_volume_24h: str | None
    event_ms: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life. `event_ms` is None where it carries no time."""

    event_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """The exchange accepted: `request_id` of the message where it echoes one, `symbols` it now streams."""

    request_id: str | None = None
    symbols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """The exchange refused a subscription: of `symbol`, or of the whole message `request_id`."""

    reason: str
    symbol: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class SequenceGap:
    """Frames of this connection were lost: what was held over them is unproven."""

    expected: int
    got: int


@dataclass(frozen=True, slots=True)
class ShutdownNotice:
    """The exchange will cut this connection soon: renew it."""


@dataclass(frozen=True, slots=True)
class ErrorFrame:
    """What the exchange complains of, or what of its frames could not be read.

    `loses_candles`: a candle update was among it, so that what is held over it is unproven: of `symbol`, or,
    where not even that could be read, of all that the connection carries.
    """

    message: str
    loses_candles: bool = False
    symbol: str | None = None


StreamEvent = (
    CandleFrame | TickerFrame | Heartbeat | Ack | Refusal | SequenceGap | ShutdownNotice | ErrorFrame
)


@dataclass(frozen=True, slots=True)
class Quirks:
    """What an exchange does its own way, as data."""

    closed_flag: bool
    """Candle frames carry the exchange's closed flag (Binance)."""
    rest_rows: int
    """Rows one candles request may return."""
    rest_fills_empty: bool
    """REST sends zero-volume rows for bars without trades; otherwise it omits them."""
    grace_ms: int
    """Exchange time after a candle's end at which the clock may prove it closed."""
    symbols_per_connection: int
    client_messages_per_s: float
    """Messages we may send on one connection."""
    lifetime_s: float | None
    """Renew a connection before this age; None where no cut-off is documented."""
    client_ping_s: float | None
    """Send the dialect's own ping this often; None where protocol pings of the server suffice."""
    budget: BudgetRule
    """Where the exchange does not state its limit at start."""
    symbols_per_message: int = 100
    heartbeats: bool = False
    """The stream carries heartbeats of its own, about one a second, that must be subscribed."""


class Dialect(Protocol):
    """One exchange's language. Stateless but for sequence numbers, which live in `StreamDecoder`."""

    quirks: Quirks

    # --- REST -------------------------------------------------------------------------------------------
    def time_request(self) -> Request: ...
    def parse_time(self, body: bytes) -> int:
        """Exchange clock, epoch ms."""
        ...

    def product_request(self, symbol: str) -> Request:
        """One product, also one that is traded no more where the exchange still knows it."""
        ...

    def parse_product(self, body: bytes) -> Product: ...

    def products_requests(self) -> Sequence[Request]:
        """All calls the product list takes, in order (list, 24 h volumes …)."""
        ...

    def parse_products(self, bodies: Sequence[bytes]) -> list[Product]: ...

    def candles_request(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Request:
        """Candles whose open lies in [start_ms, end_ms). The span never exceeds `quirks.rest_rows` bars."""
        ...

    def parse_candles(self, body: bytes, timeframe: Timeframe) -> list[RestCandle]:
        """Sorted by open, oldest first, whatever the exchange's order; open rows included.

        Raises ExchangeUnavailable for a body that is not the protocol's (an HTML page from the edge).
        """
        ...

    def budget_rule(self, bodies: Sequence[bytes]) -> BudgetRule | None:
        """The limit the exchange states in its product-list bodies, None where it states none."""
        ...

    def feedback(self, status: int, headers: Mapping[str, str], body: bytes) -> BudgetFeedback: ...

    def error_code(self, status: int, body: bytes) -> str:
        """The exchange's own error text or number of a refused request, '' where there is none."""
        ...

    # --- WebSocket --------------------------------------------------------------------------------------
    def stream_url(self, ws_url: str) -> str: ...
    def subscribe(self, symbols: Sequence[str], timeframes: Sequence[Timeframe], first_id: int) -> list[str]:
        """Messages that subscribe candles, tickers and heartbeats; ids count from `first_id`."""
        ...

    def unsubscribe(
        self, symbols: Sequence[str], timeframes: Sequence[Timeframe], first_id: int
    ) -> list[str]: ...
    def ping(self, request_id: int) -> str | None: ...
    def decoder(self) -> StreamDecoder:
        """A fresh decoder for one connection."""
        ...

    # --- for people -------------------------------------------------------------------------------------
    def page_url(self, symbol: str) -> str:
        """The symbol's page on the exchange's web site."""
        ...


class StreamDecoder(Protocol):
    def decode(self, frame: str | bytes) -> list[StreamEvent]:
        """Events of one frame, in its order. Unknown channels give none; malformed frames an ErrorFrame."""
        ...
