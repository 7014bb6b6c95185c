"""Commands and their replies as they travel, and what makes one valid.

A command on `livermore:commands:{identity_sub}` is a JSON object: correlationId (1 to 100 letters, digits or
`-_.:`), type, exchange (a name; there is no default), payload (an object, by type), timestamp (epoch ms),
priority (high, normal or low; those that steer the instance overtake all others whatever it says). Unknown
names are refused. A reply on `livermore:responses:{identity_sub}` is `Reply`.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import msgspec

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys

__all__ = [
    "EXPIRES_MS",
    "LANES",
    "AddSymbol",
    "BulkAddSymbols",
    "ClearCache",
    "Command",
    "CommandType",
    "Empty",
    "ForceBackfill",
    "Lane",
    "MalformedCommand",
    "Outcome",
    "Payload",
    "Priority",
    "RemoveSymbol",
    "Reply",
    "ReplyKind",
    "StartPayload",
    "SwitchMode",
    "lane_of",
    "parse_command",
]

EXPIRES_MS: Final = 30_000
"""A command older than this is refused, at receipt and again when its turn comes."""
AHEAD_MS: Final = 5_000
"""A timestamp further ahead is no time a command can have been sent at."""
LONGEST_BYTES: Final = 65_536
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The last for brackets in brackets, thousands deep."""
_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,100}")

Symbol = Annotated[str, msgspec.Meta(min_length=1, max_length=60, pattern=r"^[!-~]+$")]


class CommandType(StrEnum):
    START = "start"
    STOP = "stop"
    PAUSE = "pause"
    RESUME = "resume"
    RELOAD_SETTINGS = "reload-settings"
    SWITCH_MODE = "switch-mode"
    ADD_SYMBOL = "add-symbol"
    REMOVE_SYMBOL = "remove-symbol"
    BULK_ADD_SYMBOLS = "bulk-add-symbols"
    FORCE_BACKFILL = "force-backfill"
    CLEAR_CACHE = "clear-cache"
    HAND_OVER = "hand-over"


class Priority(StrEnum):
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Lane(StrEnum):
    """What runs one after another; lanes run beside each other."""

    STEER = "steer"
    """Changes the instance's state: overtakes everything."""
    WORK = "work"
    LONG = "long"
    """Takes minutes; never in the way of the others."""


LANES: Final[tuple[Lane, ...]] = tuple(Lane)
_STEERING: Final = frozenset(
    {CommandType.START, CommandType.STOP, CommandType.PAUSE, CommandType.RESUME, CommandType.HAND_OVER}
)


class Empty(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename="camel"):
    """Of commands that need to say nothing more."""


class StartPayload(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename="camel"):
    """`top` by volume, or `symbols`; neither: as the user's settings say."""

    top: Annotated[int, msgspec.Meta(ge=1, le=1_000)] | None = None
    symbols: tuple[Symbol, ...] = ()


class SwitchMode(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename="camel"):
    mode: Literal["position-monitor", "scalper-macdv"]


class AddSymbol(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename="camel"):
    symbol: Symbol


class RemoveSymbol(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename="camel"):
    symbol: Symbol


class BulkAddSymbols(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename="camel"):
    symbols: Annotated[tuple[Symbol, ...], msgspec.Meta(min_length=1, max_length=1_000)]


class ForceBackfill(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename="camel"):
    """`since_ms`: epoch ms, market time; None: the newest 300 bars. Empty lists: all that are monitored."""

    symbols: tuple[Symbol, ...] = ()
    timeframes: tuple[Timeframe, ...] = ()
    since_ms: Annotated[int, msgspec.Meta(ge=0)] | None = None


class ClearCache(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename="camel"):
    """Refused without `confirm`. The cache is filled again from PostgreSQL before anything is asked."""

    scope: Literal["all", "symbol", "timeframe"]
    confirm: bool = False
    symbol: Symbol | None = None
    timeframe: Timeframe | None = None


Payload = (
    Empty | StartPayload | SwitchMode | AddSymbol | RemoveSymbol | BulkAddSymbols | ForceBackfill | ClearCache
)
_PAYLOADS: Final[dict[CommandType, type[Payload]]] = {
    CommandType.START: StartPayload,
    CommandType.STOP: Empty,
    CommandType.PAUSE: Empty,
    CommandType.RESUME: Empty,
    CommandType.HAND_OVER: Empty,
    CommandType.RELOAD_SETTINGS: Empty,
    CommandType.SWITCH_MODE: SwitchMode,
    CommandType.ADD_SYMBOL: AddSymbol,
    CommandType.REMOVE_SYMBOL: RemoveSymbol,
    CommandType.BULK_ADD_SYMBOLS: BulkAddSymbols,
    CommandType.FORCE_BACKFILL: ForceBackfill,
    CommandType.CLEAR_CACHE: ClearCache,
}


def lane_of(kind: CommandType) -> Lane:
    if kind in _STEERING:
        return Lane.STEER
    return Lane.LONG if kind is CommandType.FORCE_BACKFILL else Lane.WORK


class Command(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A valid command. `sub`: who sent it, known by the channel it came on, never by what it says."""

    correlation_id: str
    type: CommandType
    exchange: str
    timestamp: int
    sub: str
    priority: Priority = Priority.NORMAL
    payload: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def name(self) -> str:
        """Among all commands: two users may have used one id."""
        return keys.command_of(self.correlation_id, self.sub)

    @property
    def lane(self) -> Lane:
        return lane_of(self.type)

    @property
    def rank(self) -> int:
        """Smaller goes first within its lane."""
        return tuple(Priority).index(self.priority)

    def typed_payload(self) -> Payload:
        return msgspec.convert(self.payload, _PAYLOADS[self.type])

    def expired(self, now_ms: int) -> bool:
        """`now_ms`: the Redis server's clock, which stamps commands too."""
        return now_ms - self.timestamp > EXPIRES_MS

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()


class _Wire(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    correlation_id: str
    type: CommandType
    exchange: str
    timestamp: int
    payload: msgspec.Raw = msgspec.Raw(b"{}")
    priority: Priority = Priority.NORMAL


class MalformedCommand(Exception):
    """`correlation_id` and `exchange` as far as they could be read, '' otherwise."""

    def __init__(self, reason: str, correlation_id: str = "", exchange: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.correlation_id = correlation_id
        self.exchange = exchange


def parse_command(text: str, sub: str, now_ms: int) -> Command:
    """The command that `text` is. Raises MalformedCommand with words for its sender."""
    if len(text.encode()) > LONGEST_BYTES:
        raise MalformedCommand(f"The message has more than {LONGEST_BYTES:,} bytes.")
    try:
        wire = msgspec.json.decode(text, type=_Wire)
    except _UNREADABLE as error:
        raise MalformedCommand(f"{error}. Known types: {', '.join(CommandType)}.", *_salvaged(text)) from None
    if not _ID.fullmatch(wire.correlation_id):
        raise MalformedCommand("correlationId is not 1 to 100 letters, digits or -_.:", "", wire.exchange)
    known = wire.correlation_id, wire.exchange
    if wire.timestamp > now_ms + AHEAD_MS:
        ahead = (wire.timestamp - now_ms) / 1000
        raise MalformedCommand(f"timestamp lies {ahead:.0f} s in the future.", *known)
    try:
        payload = msgspec.json.decode(wire.payload, type=_PAYLOADS[wire.type])
    except _UNREADABLE as error:
        raise MalformedCommand(f"payload of {wire.type.value}: {error}.", *known) from None
    return Command(
        correlation_id=wire.correlation_id,
        type=wire.type,
        exchange=wire.exchange,
        timestamp=wire.timestamp,
        sub=sub,
        priority=wire.priority,
        payload=msgspec.to_builtins(payload),
    )


def _salvaged(text: str) -> tuple[str, str]:
    """Correlation id and exchange of a message that is not valid as a whole, for its answer."""
    try:
        found = msgspec.json.decode(text)
    except _UNREADABLE:
        return "", ""
    if not isinstance(found, dict):
        return "", ""
    correlation_id, exchange = found.get("correlationId"), found.get("exchange")
    sound = isinstance(correlation_id, str) and _ID.fullmatch(correlation_id)
    return str(correlation_id) if sound else "", exchange if isinstance(exchange, str) else ""


class ReplyKind(StrEnum):
    ACK = "ack"
    """Taken: a reply of another kind follows when it has run, or expired."""
    PROGRESS = "progress"
    RESULT = "result"
    ERROR = "error"


class Outcome(StrEnum):
    ACCEPTED = "accepted"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"
    REFUSED = "refused"


class Reply(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`at`: epoch ms of the Redis server's clock. `error`: words for people, '' for none."""

    correlation_id: str
    kind: ReplyKind
    outcome: Outcome
    exchange: str
    at: int
    instance_id: str = ""
    error: str = ""
    result: dict[str, Any] = msgspec.field(default_factory=dict)
    duration_ms: int | None = None

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()
