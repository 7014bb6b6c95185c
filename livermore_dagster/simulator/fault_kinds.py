"""The kinds of faults a simulated exchange plays, and what an order of each may say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["ACTS", "AIMS", "FORMS", "OWN", "RULES", "SKEWED", "FaultKind", "Own", "Rule"]


class FaultKind(StrEnum):
    DROP = "drop"
    """Cut connections without a closing handshake."""
    CLOSE = "close"
    """End connections with a closing handshake and `code`, as at their age."""
    SHUTDOWN = "shutdown"
    """Announce the end of connections where the exchange does so, and cut them `duration_s` later."""
    STALL = "stall"
    """The socket stays open, heartbeats and pongs go on, no data comes; numbers show no hole."""
    SILENCE = "silence"
    """The socket stays open and nothing at all comes, neither pings nor pongs: a dead path."""
    LAG = "lag"
    """Everything comes `delay_s` late, in order, with the stamps it had."""
    DUPLICATE = "duplicate"
    """Data frames are sent twice."""
    REORDER = "reorder"
    """A data frame is sent after the one that follows it."""
    LOSE = "lose"
    """Data frames are lost; sequence numbers show it."""
    REPLAY = "replay"
    """An earlier data frame of the same stream is sent again after newer ones."""
    GARBLE = "garble"
    """A data frame comes cut in half."""
    SEQUENCE_GAP = "sequence_gap"
    """A sequence number is left out though nothing was lost."""
    LOSE_CLOSE = "lose_close"
    """The last frame of a candle is lost; sequence numbers show it."""
    REVISE_STREAM = "revise_stream"
    """The last frame of a candle states provisional values; corrected `settle_ms` later, or never."""
    STALE_SNAPSHOT = "stale_snapshot"
    """The first values after a subscription are `stale_ms` old, stamped now."""
    DEAD_SUBSCRIPTION = "dead_subscription"
    """Subscriptions that exist are forgotten without a word; subscribing again heals."""
    REFUSE_SUBSCRIPTION = "refuse_subscription"
    """The symbol is left out of what a subscription gives."""
    REJECT_SUBSCRIPTION = "reject_subscription"
    """A whole subscription message is answered with an error frame."""
    LOST_REQUEST = "lost_request"
    """A client's message is not heard."""
    LOST_ACK = "lost_ack"
    """A client's message is obeyed and not answered."""
    RATE_CUT = "rate_cut"
    """The client's next message counts as one too many: the connection is closed with 1008."""
    REFUSE_CONNECTION = "refuse_connection"
    """WebSocket upgrades are answered with `status`, and with Retry-After where `retry_after_s` is given."""
    HANG_CONNECTION = "hang_connection"
    """WebSocket upgrades are answered with 503, but only after `delay_s`."""
    RATE_LIMIT = "rate_limit"
    """REST answers 429."""
    BAN = "ban"
    """REST answers as to a banned address; requests lengthen it."""
    FOREIGN_WEIGHT = "foreign_weight"
    """Another process behind the same address uses `count` units of the budget, at once."""
    ERROR_PAGE = "error_page"
    """REST answers `status` with an HTML page, as an exchange's edge does."""
    ERROR_BODY = "error_body"
    """REST answers 200 with an error body."""
    BROKEN_BODY = "broken_body"
    """REST answers 200 with JSON cut in half."""
    SLOW_REPLY = "slow_reply"
    """REST answers `delay_s` late."""
    CUT_REPLY = "cut_reply"
    """The connection is cut instead of an answer."""
    LATE_ROW = "late_row"
    """REST lacks the newest closed candle, or those younger than `settle_ms`; the open one is there."""
    NO_OPEN_ROW = "no_open_row"
    """REST leaves the open candle out."""
    REVISE = "revise"
    """REST shows the newest closed candle, or those younger than `settle_ms`, with provisional values."""
    STALE_PAGE = "stale_page"
    """REST answers candles as they stood `stale_ms` ago, as a cache does."""
    SWAP_FILLERS = "swap_fillers"
    """REST leaves out empty intervals where the exchange fills them, and fills where it leaves out."""
    SKEW = "skew"
    """The exchange's stated time is `skew_ms` off."""
    FAIL_PAGE = "fail_page"
    """A page of an account fails, as `how` says: HTTP 500, no answer, or a body cut in half."""
    REPEAT_CURSOR = "repeat_cursor"
    """A page of an account names as the next page itself (Coinbase)."""
    REPEAT_PAGE = "repeat_page"
    """The page before is delivered again in place of the one that was asked for."""
    CHANGE_ORDER = "change_order"
    """After a page was answered a new trade comes, and an open order is cancelled."""
    REVOKE_KEY = "revoke_key"
    """Keys of accounts are refused."""


AIMS: Final = ("symbol", "connection", "channel", "timeframe", "endpoint")
FORMS: Final = ("errors", "grpc")
SKEWED: Final = ("rest", "stream")
FAILURES: Final = ("error", "hang", "cut")


@dataclass(frozen=True, slots=True)
class Own:
    """A field of some kinds: its bounds (both allowed), or its choices; None: none unless given."""

    default: float | str | None
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    choices: tuple[str, ...] = ()


_DAY_MS = 86_400_000

OWN: Mapping[str, Own] = MappingProxyType(
    {
        # 1004 to 1006 and 1015 never travel in a frame (RFC 6455, 7.4.1).
        "code": Own(1000, 1000, 4999, whole=True),
        "status": Own(503, 400, 599, whole=True),
        "delay_s": Own(3.0, 0.01, 600.0),
        "settle_ms": Own(None, 1, _DAY_MS, whole=True),
        "stale_ms": Own(120_000, 1, 7 * _DAY_MS, whole=True),
        "retry_after_s": Own(None, 1, 3600, whole=True),
        "skew_ms": Own(None, -_DAY_MS, _DAY_MS, whole=True),
        "form": Own("errors", choices=FORMS),
        "where": Own(None, choices=SKEWED),
        # So many pages pass before the fault strikes.
        "skip": Own(0, 0, 1_000_000, whole=True),
        "how": Own("error", choices=FAILURES),
    }
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What an order of one kind may say beside its time."""

    aims: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


_DATA = Rule(("symbol", "connection", "channel", "timeframe"))
_CLOSES = ("symbol", "connection", "timeframe")
_SOCKET = Rule(("connection",))
_ROWS = ("symbol", "timeframe")
_REST = ("endpoint",)

RULES: Mapping[FaultKind, Rule] = MappingProxyType(
    {
        FaultKind.DROP: _SOCKET,
        FaultKind.CLOSE: Rule(("connection",), ("code",)),
        FaultKind.SHUTDOWN: _SOCKET,
        FaultKind.STALL: _DATA,
        FaultKind.SILENCE: _SOCKET,
        FaultKind.LAG: Rule(("connection",), ("delay_s",)),
        FaultKind.DUPLICATE: _DATA,
        FaultKind.REORDER: _DATA,
        FaultKind.LOSE: _DATA,
        FaultKind.REPLAY: _DATA,
        FaultKind.GARBLE: _DATA,
        FaultKind.SEQUENCE_GAP: _SOCKET,
        FaultKind.LOSE_CLOSE: Rule(_CLOSES),
        FaultKind.REVISE_STREAM: Rule(("symbol", "timeframe"), ("settle_ms",)),
        FaultKind.STALE_SNAPSHOT: Rule(_CLOSES, ("stale_ms",)),
        FaultKind.DEAD_SUBSCRIPTION: _DATA,
        FaultKind.REFUSE_SUBSCRIPTION: Rule(("symbol", "connection"), needs=("symbol",)),
        FaultKind.REJECT_SUBSCRIPTION: _SOCKET,
        FaultKind.LOST_REQUEST: _SOCKET,
        FaultKind.LOST_ACK: _SOCKET,
        FaultKind.RATE_CUT: _SOCKET,
        FaultKind.REFUSE_CONNECTION: Rule(own=("status", "retry_after_s")),
        FaultKind.HANG_CONNECTION: Rule(own=("delay_s",)),
        FaultKind.RATE_LIMIT: Rule(_REST, ("retry_after_s", "form")),
        FaultKind.BAN: Rule(),
        FaultKind.FOREIGN_WEIGHT: Rule(needs=("count",)),
        FaultKind.ERROR_PAGE: Rule(_REST, ("status",)),
        FaultKind.ERROR_BODY: Rule(_REST),
        FaultKind.BROKEN_BODY: Rule(_REST),
        FaultKind.SLOW_REPLY: Rule(_REST, ("delay_s",)),
        FaultKind.CUT_REPLY: Rule(_REST),
        FaultKind.LATE_ROW: Rule(_ROWS, ("settle_ms",)),
        FaultKind.NO_OPEN_ROW: Rule(_ROWS),
        FaultKind.REVISE: Rule(_ROWS, ("settle_ms",)),
        FaultKind.STALE_PAGE: Rule(_ROWS, ("stale_ms",)),
        FaultKind.SWAP_FILLERS: Rule(_ROWS),
        FaultKind.SKEW: Rule(own=("skew_ms", "where"), needs=("skew_ms",)),
        FaultKind.FAIL_PAGE: Rule(own=("skip", "how")),
        FaultKind.REPEAT_CURSOR: Rule(own=("skip",)),
        FaultKind.REPEAT_PAGE: Rule(own=("skip",)),
        FaultKind.CHANGE_ORDER: Rule(own=("skip",)),
        FaultKind.REVOKE_KEY: Rule(),
    }
)

ACTS: Final = frozenset({FaultKind.DROP, FaultKind.CLOSE, FaultKind.SHUTDOWN, FaultKind.DEAD_SUBSCRIPTION})
"""Done once, at their time; all others last, and strike what passes."""
