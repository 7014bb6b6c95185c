"""What exchanges do to us, by the failure modes of their reports, and the marks each must leave."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from livermore_dagster.incidents import IncidentName
from livermore_dagster.market.timeframe import Timeframe
from tests.integration.faults.stage import SPEED, Order, Stage

__all__ = ["ACTS", "BINANCES", "EXCHANGES", "Scenario", "acts_of", "orders_of", "scenario_named"]

EXCHANGES = ("binance", "binance_us", "coinbase")
DROP: Order = {"kind": "drop"}
LOST_CLOSES: Order = {"kind": "lose_close", "count": 12}
"""Makes REST be asked for candles."""


@dataclass(frozen=True)
class Scenario:
    """`orders` of a stage. Afterwards each of `counters` has grown ("a|b": one of them) by so much.

    Each of `incidents` was told. `only`: the exchanges it can befall, all where empty. `defence`: what
    survives it, for docs/faults.md.
    """

    name: str
    mode: str
    defence: str
    orders: Callable[[Stage], Sequence[Order]]
    counters: Mapping[str, int] = field(default_factory=dict)
    incidents: tuple[IncidentName, ...] = ()
    only: tuple[str, ...] = ()
    observed_only: bool = False
    """Filler rows are as good as no rows while it lasts (P15)."""
    audited: bool = False
    """REST itself was wrong for longer than anybody waits: the hourly audit sets it right."""
    once: bool = False
    """A market has one such event."""


CORRECTED = {"binance": 4_000, "binance_us": 4_000, "coinbase": 240_000}
"""Market ms after a candle's end: behind the flag, or behind the successor's first frame."""
FOREIGN = {"binance": 2_000, "binance_us": 250, "coinbase": 4}
"""Of what each allows: 6,000 and 1,200 a minute, 10 a second."""
BINANCES = ("binance", "binance_us")
EMPTY_MINUTES = {"binance": 9, "binance_us": 9, "coinbase": 20}
"""Longer than the fault lasts."""


def acts_of(exchange: str) -> list[list[Scenario]]:
    """Those that befall `exchange`, in their order; what stands together strikes together."""
    found = [[one for one in act if not one.only or exchange in one.only] for act in ACTS]
    return [act for act in found if act]


def orders_of(scenarios: Sequence[Scenario], stage: Stage) -> list[Order]:
    """What they order. Connections are cut once and last: a second cut would undo what met the successor."""
    orders = [order for one in scenarios for order in one.orders(stage)]
    return [*(one for one in orders if one != DROP), *([DROP] if DROP in orders else [])]


def scenario_named(name: str, exchange: str) -> Scenario:
    return next(one for act in acts_of(exchange) for one in act if one.name == name)


def _stepped_back(stage: Stage) -> int:
    """Three real seconds, in market ms."""
    return -int(3_000 * SPEED[stage.exchange])


def _foreign(stage: Stage) -> int:
    """Weight of others, beyond what we used before the exchange's minute began, which hides as much."""
    return FOREIGN[stage.exchange] + (0 if stage.exchange == "coinbase" else stage.used())


def _lost_flags(stage: Stage) -> Sequence[Order]:
    """Makes REST be asked for a symbol without trades: its candles are flagged all the same, if at all."""
    if stage.exchange == "coinbase":
        return []
    return [{"kind": "lose_close", "symbol": stage.sparse, "count": 4}]


def _closes_of_a_flow(stage: Stage) -> Sequence[Order]:
    """Behind a snapshot nothing is proven anyway, whatever is lost."""
    stage.flowing_connection()
    return [{"kind": "lose_close", "count": 6}]


def _outage(stage: Stage) -> Order:
    """Begins two real seconds from now, lasts three, and does not end on the five-minute grid."""
    minute, second = Timeframe.M1.ms, 1_000 * SPEED[stage.exchange]
    now_ms = stage.market_now()
    begins = now_ms - now_ms % minute + minute + math.ceil(2 * second / minute) * minute
    minutes = math.ceil(3 * second / minute)
    if (begins + minutes * minute) % Timeframe.M5.ms == 0:
        minutes += 1
    # So many rows off the grid that whoever was long in coming back still hears the end of one.
    return {"event": "outage", "at_ms": begins, "minutes": minutes, "off_grid_rows": 4}


ACTS: list[list[Scenario]] = [
    [
        Scenario(
            "repeated_frames", "4 duplicates and older values",
            "closer: of one bucket the greater exchange time counts; final is final",
            lambda _: [
                {"kind": "duplicate", "count": 20},
                {"kind": "reorder", "count": 20},
                {"kind": "replay", "count": 20},
                {"kind": "garble", "count": 4},
            ],
            {"frames_repeated": 1, "error_frames": 1}, (IncidentName.ERROR_FRAME,),
        ),
    ],
    [
        Scenario(
            "lost_close", "5 no close flag",
            "closer: a bucket without its flag is unproven, REST settles it",
            lambda _: [{"kind": "lose_close", "count": 6}],
            # A minute that lasts a second may have had no frame but the lost one.
            {"unproven|silent_asks": 1}, only=BINANCES,
        ),
        Scenario(
            "lost_close", "5 no close flag",
            "closer: a bucket whose last frame left a hole in the numbers is unproven, REST settles it",
            _closes_of_a_flow,
            {"sequence_gaps": 1, "unproven": 1}, (IncidentName.SEQUENCE_GAP,), only=("coinbase",),
        ),
        Scenario(
            "lost_frames", "5 no close flag",
            "sequence numbers are read: a hole makes every open bucket unproven",
            lambda _: [{"kind": "lose", "count": 6}],
            {"sequence_gaps": 1, "unproven": 1}, (IncidentName.SEQUENCE_GAP,), only=("coinbase",),
        ),
    ],
    [
        Scenario(
            "dead_subscription", "2 dead subscription",
            "a silent bucket is asked of REST; two that traded unheard: subscribed anew",
            lambda stage: [{"kind": "dead_subscription", "symbol": stage.liquid}],
            {"symbols_resubscribed": 1, "silent_asks": 1}, (IncidentName.SYMBOL_DEAF,),
        ),
        Scenario(
            "revised", "6 revised after close",
            "closer: a later frame of a final bucket is a revision",
            lambda stage: [{"kind": "revise_stream", "count": 4, "settle_ms": CORRECTED[stage.exchange]}],
            {"revised": 1},
        ),
        Scenario(
            "rest_time_ahead", "12 clock skew",
            "candles close by the stream's clock alone; REST's time is compared with it",
            lambda _: [{"kind": "skew", "where": "rest", "skew_ms": 600_000, "duration_s": 5}],
            {"clock_skews": 1}, (IncidentName.CLOCK_SKEW,),
        ),
    ],
    [
        Scenario(
            "refused_subscription", "2 dead subscription",
            "acknowledgements are waited for, symbol by symbol",
            lambda stage: [
                {"kind": "refuse_subscription", "symbol": stage.liquid, "duration_s": 6}, DROP,
            ],
            {"subscriptions_refused": 1}, (IncidentName.SUBSCRIPTION_REFUSED,), only=("coinbase",),
        ),
        Scenario(
            "unheard_refusal", "2 dead subscription",
            "a silent bucket is asked of REST; two that traded unheard: subscribed anew",
            lambda stage: [
                {"kind": "refuse_subscription", "symbol": stage.liquid, "duration_s": 4}, DROP,
            ],
            {"symbols_resubscribed": 1}, (IncidentName.SYMBOL_DEAF,), only=BINANCES,
        ),
    ],
    [
        Scenario(
            "reconnect_gap", "3 reconnect gap, and an older value first",
            "what was open at a break is unproven, REST settles it; snapshots prove nothing",
            lambda stage: [
                # Coinbase's buckets are longer: one that is back within the same bucket has missed nothing.
                {"kind": "refuse_connection", "count": 3 if stage.exchange == "coinbase" else 2},
                {"kind": "stale_snapshot", "duration_s": 5},
                DROP,
            ],
            {"reconnects": 1, "connects_failed": 1}, (IncidentName.CONNECTION_LOST,),
        ),
    ],
    [
        Scenario(
            "partial_subscription", "10 resubscribe storm",
            "what was not acknowledged is asked for again, paced, and alone in the end",
            lambda _: [
                {"kind": "reject_subscription", "count": 2}, {"kind": "lost_ack", "count": 4}, DROP,
            ],
            {"subscribe_retries": 1},
        ),
        Scenario(
            "rate_limit", "9 rate limit and ban",
            "a refusal closes the budget for every process until it may reopen",
            lambda _: [{"kind": "rate_limit", "count": 1, "retry_after_s": 2}, DROP],
            {"http_429": 1}, (IncidentName.HTTP_429,),
        ),
    ],
    [
        Scenario(
            "rate_cut", "10 resubscribe storm",
            "messages are paced; a cut connection backs off, comes back and repairs",
            lambda _: [{"kind": "rate_cut", "count": 1}, DROP],
            {"reconnects": 1}, (IncidentName.CONNECTION_LOST,),
        ),
        Scenario(
            "foreign_weight", "9 rate limit and ban",
            "headers correct the budget: what others used is waited for",
            lambda stage: [{"kind": "foreign_weight", "count": _foreign(stage)}, LOST_CLOSES, DROP],
            {"foreign_weight": 1}, (IncidentName.FOREIGN_WEIGHT,),
        ),
    ],
    [
        Scenario(
            "unheard_heartbeats", "extra: heartbeats that never come",
            "a connection without heartbeats is replaced before the exchange ends it",
            # A new connection asks for heartbeats first; candles and tickers are asked for again.
            lambda _: [{"kind": "lost_request", "count": 3}, DROP],
            {"watchdog_reconnects": 1}, (IncidentName.WATCHDOG,), only=("coinbase",),
        ),
        Scenario(
            "announced_shutdown", "11 age of connections",
            "the successor is up before the announced end",
            lambda _: [{"kind": "shutdown", "duration_s": 4}],
            {"shutdown_notices": 1, "renewals": 1}, (IncidentName.SHUTDOWN_NOTICE,), only=BINANCES,
        ),
        Scenario(
            "swapped_fillers", "8 omitted or zero-volume",
            "absence is noted once and never asked again; fillers are rows like others",
            # A symbol without any trades, so that there is something to fill or to leave out.
            lambda stage: [
                {"event": "halt", "symbol": stage.sparse, "minutes": EMPTY_MINUTES[stage.exchange]},
                {"kind": "swap_fillers", "duration_s": 6},
                *_lost_flags(stage),
                LOST_CLOSES,
            ],
            {"unproven|silent_asks": 1, "buckets_absent": 1}, observed_only=True,
        ),
    ],
    [
        Scenario(
            "unannounced_end", "11 age of connections",
            "connects anew at once; what was open is unproven, REST settles it",
            lambda _: [{"kind": "close"}],
            {"reconnects": 1}, (IncidentName.CONNECTION_LOST,),
        ),
    ],
    [
        Scenario(
            "stall", "1 silent stall",
            "most symbols silent at once is a stall, no absence: asked of REST, connection replaced",
            # Tickers go on: only the candles stand still.
            lambda stage: [
                {
                    "kind": "stall", "connection": stage.flowing_connection(), "channel": "candles",
                    "duration_s": 30,
                },
            ],
            {"stalls": 1, "reconnects|renewals": 1}, (IncidentName.STALLED,), only=("coinbase",),
        ),
        Scenario(
            # Without heartbeats of its own a stalled connection says nothing at all.
            "stall", "1 silent stall",
            "silent liquid symbols that trade by REST, or nothing at all: connection replaced",
            lambda stage: [{"kind": "stall", "connection": stage.flowing_connection(), "duration_s": 30}],
            {"stalls|watchdog_reconnects": 1, "reconnects|renewals": 1}, only=BINANCES,
        ),
    ],
    [
        Scenario(
            "silence", "1 silent stall",
            "a connection without any message is replaced",
            lambda stage: [{"kind": "silence", "connection": stage.connection(), "duration_s": 30}],
            {"watchdog_reconnects": 1, "reconnects": 1}, (IncidentName.WATCHDOG,),
        ),
        Scenario(
            "rest_broken", "extra: edge pages, errors in HTTP 200, cut replies",
            "replies that are not the protocol's are asked for again, with pauses",
            lambda _: [
                {"kind": "error_page", "status": 403, "count": 3},
                {"kind": "error_body", "count": 3},
                {"kind": "broken_body", "count": 2},
                {"kind": "cut_reply", "count": 1},
                LOST_CLOSES,
            ],
            {"rest_retries": 1},
        ),
    ],
    [
        Scenario(
            "rest_behind", "7 newest closed row missing, or a cached page",
            "a reply without the row proves nothing for now; a page from a cache is refused by its Age",
            lambda _: [
                # Later than a minute of market time a missing row counts as absent; the audit finds it then.
                {"kind": "late_row", "duration_s": 4, "settle_ms": 45_000},
                {"kind": "no_open_row", "duration_s": 4},
                {"kind": "stale_page", "count": 2},
                LOST_CLOSES,
            ],
            {"repair_retries|rest_retries": 1, "rest_stale": 1},
        ),
    ],
    [
        # By itself: behind a frame lost at that moment a step cannot be told, nor is anything held to doubt.
        Scenario(
            "stream_time_steps", "12 clock skew",
            "the exchange's clock never runs back; what was open when its stream's did is unproven",
            lambda stage: [
                {"kind": "skew", "where": "stream", "skew_ms": _stepped_back(stage), "duration_s": 3},
            ],
            {"clock_steps_back": 1}, (IncidentName.CLOCK_JUMP,),
        ),
    ],
    [
        Scenario(
            "ban", "9 rate limit and ban",
            "nothing is asked until the ban's stated end",
            lambda _: [{"kind": "ban", "duration_s": 3}, DROP],
            {"http_418": 1}, (IncidentName.HTTP_418,), only=BINANCES,
        ),
        Scenario(
            "ban", "9 rate limit and ban",
            "the edge's page closes the budget like any 429",
            lambda _: [{"kind": "ban", "duration_s": 3}, LOST_CLOSES, DROP],
            {"http_429": 1}, (IncidentName.HTTP_429,), only=("coinbase",),
        ),
    ],
    [
        Scenario(
            "outage", "extra: downtime, then candles off the grid",
            "off-grid rows are kept as they are; downtime is a hole, not a filler",
            lambda stage: [_outage(stage)],
            {"off_grid": 1, "reconnects": 1}, (IncidentName.CONNECTION_LOST,), once=True,
        ),
    ],
    [
        Scenario(
            "rest_revised", "6 revised after close",
            "REST's first answer may change: what was asked for early is asked for once more when it has "
            "settled; what was wrong for longer the hourly audit repairs",
            lambda _: [
                # Until REST has been asked for what two boundaries lost, and again once it has settled.
                {"kind": "revise", "settle_ms": 20 * 60_000, "duration_s": 8},
                LOST_CLOSES,
            ],
            {"audit_differences": 1}, (IncidentName.AUDIT,), audited=True,
        ),
    ],
]  # fmt: skip
