"""Storms: schedules of faults drawn from a seed, in which every kind strikes and which end calm.

A storm never makes the truth unreachable: what the stream withholds or misstates, REST or a later frame
gives, and its last quarter is calm.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from livermore_dagster.simulator.fault_kinds import ACTS, FORMS, RULES, FaultKind
from livermore_dagster.simulator.faults import BadFault
from livermore_dagster.simulator.noise import key_of
from livermore_dagster.simulator.universe import Listing

__all__ = [
    "DEFAULT_STORM_S", "SHORTEST_STORM_S", "Storm", "checked_storm", "kinds_of", "schedule", "storm_plan",
]  # fmt: skip

DEFAULT_STORM_S: Final = 600.0
SHORTEST_STORM_S: Final = 60.0
_CALM: Final = 0.25
_CORRECTED: Final = 0.08
"""Share of the time before the calm that revised last frames have for themselves: a correction that
another fault swallowed would leave nothing but an audit to find it."""
_EVERY_S: Final = 8.0
_STRUCK: Final = ("liquid", "sparse", "silent")
_SYMBOLS: Final = 8
"""The best ranked: whoever watches at all watches them."""
Order = dict[str, Any]

# A kind that joins this list makes other storms of the same seeds. Not in it: swapped fillers, with which
# what is rightly stored differs from the exchange's usual rows; and what concerns accounts.
_KINDS: Final = (
    FaultKind.DROP, FaultKind.CLOSE, FaultKind.SHUTDOWN, FaultKind.STALL, FaultKind.SILENCE, FaultKind.LAG,
    FaultKind.DUPLICATE, FaultKind.REORDER, FaultKind.LOSE, FaultKind.REPLAY, FaultKind.GARBLE,
    FaultKind.SEQUENCE_GAP, FaultKind.LOSE_CLOSE, FaultKind.REVISE_STREAM, FaultKind.STALE_SNAPSHOT,
    FaultKind.DEAD_SUBSCRIPTION, FaultKind.REFUSE_SUBSCRIPTION, FaultKind.REJECT_SUBSCRIPTION,
    FaultKind.LOST_REQUEST, FaultKind.LOST_ACK, FaultKind.RATE_CUT, FaultKind.REFUSE_CONNECTION,
    FaultKind.HANG_CONNECTION, FaultKind.RATE_LIMIT, FaultKind.BAN, FaultKind.FOREIGN_WEIGHT,
    FaultKind.ERROR_PAGE, FaultKind.ERROR_BODY, FaultKind.BROKEN_BODY, FaultKind.SLOW_REPLY,
    FaultKind.CUT_REPLY, FaultKind.LATE_ROW, FaultKind.NO_OPEN_ROW, FaultKind.REVISE, FaultKind.STALE_PAGE,
    FaultKind.SKEW,
)  # fmt: skip
# On a socket that is up these strike nobody: something must first make clients connect again.
_NEEDS_RECONNECT = frozenset(
    {
        FaultKind.REFUSE_CONNECTION, FaultKind.HANG_CONNECTION, FaultKind.REFUSE_SUBSCRIPTION,
        FaultKind.REJECT_SUBSCRIPTION, FaultKind.LOST_REQUEST, FaultKind.LOST_ACK, FaultKind.RATE_CUT,
        FaultKind.STALE_SNAPSHOT,
    }
)  # fmt: skip
_REST_ONCE = frozenset(
    {
        FaultKind.RATE_LIMIT, FaultKind.FOREIGN_WEIGHT, FaultKind.ERROR_PAGE, FaultKind.ERROR_BODY,
        FaultKind.BROKEN_BODY, FaultKind.SLOW_REPLY, FaultKind.CUT_REPLY, FaultKind.LATE_ROW,
        FaultKind.NO_OPEN_ROW, FaultKind.REVISE, FaultKind.STALE_PAGE,
    }
)  # fmt: skip
_ONCE = frozenset(
    {
        FaultKind.DUPLICATE, FaultKind.REORDER, FaultKind.LOSE, FaultKind.REPLAY, FaultKind.GARBLE,
        FaultKind.SEQUENCE_GAP, FaultKind.LOSE_CLOSE,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Storm:
    """Which storm: times in real seconds; `intensity` 1 is a fault about every eight seconds.

    `symbols`: those to be struck; none: the exchange's best ranked.
    """

    seed: int
    duration_s: float = DEFAULT_STORM_S
    intensity: float = 1.0
    symbols: tuple[str, ...] = ()


def checked_storm(wanted: Mapping[str, Any], known: Container[str] = ()) -> Storm:
    """A storm as the control door orders it; `known` are the exchange's symbols. Raises BadFault."""
    unknown = sorted(set(wanted) - {"seed", "duration_s", "intensity", "symbols"})
    if unknown:
        raise BadFault(f"unknown fields {unknown}: a storm takes seed, duration_s, intensity, symbols")
    symbols = wanted.get("symbols", [])
    if not isinstance(symbols, list) or not all(isinstance(one, str) and one in known for one in symbols):
        raise BadFault(f"symbols must be a list of the exchange's symbols, not {symbols!r}")
    seed = wanted.get("seed")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise BadFault(f"seed must be a whole number from 0 on, not {seed!r}")
    bounds = {"duration_s": (DEFAULT_STORM_S, SHORTEST_STORM_S, 86_400.0), "intensity": (1.0, 0.1, 10.0)}
    numbers = {}
    for name, (default, low, high) in bounds.items():
        value = wanted.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise BadFault(f"{name} must be a number between {low:g} and {high:g}, not {value!r}")
        numbers[name] = float(value)
    return Storm(seed, symbols=tuple(symbols), **numbers)


def kinds_of(exchange: str) -> list[FaultKind]:
    """What a storm on this exchange is made of, in an order that stays."""
    return [kind for kind in _KINDS if kind is not FaultKind.SEQUENCE_GAP or exchange == "coinbase"]


def schedule(
    seed: int, exchange: str, symbols: Sequence[str], duration_s: float, intensity: float = 1.0
) -> list[Order]:
    """The orders of a storm by their `after_s`: a pure function of what is given."""
    if not symbols:
        raise BadFault("a storm needs symbols to strike")
    storm = checked_storm({"seed": seed, "duration_s": duration_s, "intensity": intensity})
    draw = random.Random(key_of("storm", storm.seed, exchange, f"{storm.duration_s:g}", *symbols))
    rough = storm.duration_s * (1.0 - _CALM)
    last = rough * (1.0 - _CORRECTED)
    deck = [kind for kind in kinds_of(exchange) if kind is not FaultKind.REVISE_STREAM]
    wanted = max(len(deck), round(last / _EVERY_S * storm.intensity))
    kinds = [kind for _ in range(-(-wanted // len(deck))) for kind in draw.sample(deck, len(deck))][:wanted]
    orders: list[Order] = []
    for place, kind in enumerate(kinds):
        # One after the other, each shaken by up to a whole place, so that neighbours meet.
        begins = last * min(0.97, (place + draw.random()) / wanted)
        if kind is FaultKind.BAN:
            # Requests that were under way lengthen it: early, so that it is over when the calm begins.
            begins *= 0.3
        orders += _scene(kind, begins, last, exchange, symbols, draw)
    orders.append(
        {
            "kind": FaultKind.REVISE_STREAM.value,
            "after_s": round(last, 1),
            "duration_s": round(rough - last, 1),
            "settle_ms": draw.randrange(2000, 8001, 500),
        }
    )
    return sorted(orders, key=lambda order: (order["after_s"], order["kind"]))


def storm_plan(storm: Storm, exchange: str, listings: Iterable[Listing]) -> list[Order]:
    """The storm's orders on an exchange with these products: its ranked ones are struck."""
    ranked = [item.symbol for item in listings if item.kind in _STRUCK and not item.alias_of][:_SYMBOLS]
    return schedule(storm.seed, exchange, storm.symbols or ranked, storm.duration_s, storm.intensity)


def _scene(
    kind: FaultKind, begins: float, last: float, exchange: str, symbols: Sequence[str], draw: random.Random
) -> list[Order]:
    """A fault, and what makes it strike."""
    longest = last - begins
    order: Order = {"kind": kind.value, "after_s": round(begins, 1)}
    if kind not in ACTS:
        order["duration_s"] = round(min(longest, draw.uniform(2.0, max(3.0, last / 12))), 1)
    if kind in _REST_ONCE:
        # REST is asked seldom: the fault waits for the next request.
        order |= {"count": draw.randint(1, 3), "duration_s": round(longest, 1)}
    elif kind in _ONCE:
        order |= {"count": draw.randint(1, 12), "duration_s": round(longest, 1)}
    if "symbol" in RULES[kind].aims and (kind is FaultKind.REFUSE_SUBSCRIPTION or draw.random() < 0.6):
        order["symbol"] = draw.choice(symbols)
    order |= _own(kind, exchange, draw)
    if "duration_s" in order:
        order["duration_s"] = round(min(longest, order["duration_s"]), 1)
    if kind not in _NEEDS_RECONNECT:
        return [order]
    cut = draw.choice((FaultKind.DROP, FaultKind.CLOSE)).value
    return [order, {"kind": cut, "after_s": round(begins + 0.2, 1)}]


def _own(kind: FaultKind, exchange: str, draw: random.Random) -> Order:
    """The kind's own fields, and counts and times it must keep to."""
    if kind is FaultKind.FOREIGN_WEIGHT:
        # A third of the budget: not so much that nobody could stay below the limit.
        return {"count": {"binance": 2000, "binance_us": 400, "coinbase": 3}[exchange]}
    drawn = _OWN.get(kind)
    own: Order = {} if drawn is None else drawn(draw)
    if kind is FaultKind.RATE_LIMIT and exchange == "coinbase":
        own["form"] = draw.choice(FORMS)
    return own


def _settling(draw: random.Random) -> Order:
    """Market time, whatever its speed: half a minute after its end a real candle stands (failure mode 6)."""
    return {"settle_ms": draw.randrange(1000, 25_001, 1000)}


_OWN: Mapping[FaultKind, Callable[[random.Random], Order]] = {
    FaultKind.CLOSE: lambda draw: {"code": draw.choice((1000, 1001, 1011, 1012))},
    FaultKind.SHUTDOWN: lambda draw: {"duration_s": draw.choice((1.0, 3.0, 5.0))},
    FaultKind.LAG: lambda draw: {"delay_s": round(draw.uniform(0.5, 3.0), 1)},
    FaultKind.SLOW_REPLY: lambda draw: {"delay_s": round(draw.uniform(0.5, 3.0), 1)},
    FaultKind.STALE_SNAPSHOT: lambda draw: {"stale_ms": draw.randrange(20_000, 300_001, 20_000)},
    FaultKind.STALE_PAGE: lambda draw: {"stale_ms": draw.randrange(60_000, 400_001, 20_000)},
    FaultKind.REFUSE_CONNECTION: lambda draw: {
        # Without the header a client stays away for a minute, as at a real exchange.
        "status": draw.choice((429, 502, 503)),
        "retry_after_s": 2,
        "duration_s": 2.0,
    },
    FaultKind.HANG_CONNECTION: lambda _: {"delay_s": 2.0, "count": 1},
    FaultKind.RATE_CUT: lambda _: {"count": 1},
    FaultKind.LOST_REQUEST: lambda _: {"count": 1},
    FaultKind.REJECT_SUBSCRIPTION: lambda _: {"count": 1},
    FaultKind.RATE_LIMIT: lambda draw: {"count": 1, "retry_after_s": draw.randint(2, 5)},
    FaultKind.BAN: lambda _: {"duration_s": 4.0},
    FaultKind.ERROR_PAGE: lambda draw: {"status": draw.choice((403, 500, 502, 503, 504))},
    FaultKind.LATE_ROW: _settling,
    FaultKind.REVISE: _settling,
    FaultKind.SKEW: lambda draw: {"skew_ms": draw.choice((-3000, -1500, 1500, 3000))},
}
