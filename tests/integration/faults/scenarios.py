"""What exchanges do to us, by the failure modes of their reports, and the marks each must leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from livermore_dagster.incidents import IncidentName
from tests.integration.faults.stage import Order, Stage

__all__ = ["SCENARIOS", "Scenario"]

DROP: Order = {"kind": "drop"}
LOST_CLOSES: Order = {"kind": "lose_close", "count": 12}
"""Makes REST be asked for candles."""


@dataclass(frozen=True)
class Scenario:
    """`orders` of a stage. Afterwards each of `counters` has grown ("a|b": one of them).

    Each of `incidents` was told. `only`: the exchanges it can befall, all where empty.
    """

    name: str
    mode: str
    orders: Callable[[Stage], list[Order]]
    counters: tuple[str, ...]
    incidents: tuple[IncidentName, ...] = ()
    only: tuple[str, ...] = ()
    refusals: int = 0
    """429 and 418 the exchange gives because it was told to."""
    observed_only: bool = False
    """Filler rows are as good as no rows here (P15)."""


CORRECTED = {"binance": 4_000, "binance_us": 4_000, "coinbase": 240_000}
"""Market ms after a candle's end: behind the flag, or behind the successor's first frame."""
FOREIGN = {"binance": 2_000, "binance_us": 400, "coinbase": 3}
"""A third of what each allows: 6,000 and 1,200 a minute, 10 a second."""

SCENARIOS = [
    Scenario(
        "stall", "1 silent stall", lambda _: [{"kind": "stall", "duration_s": 7}],
        ("stalls", "reconnects|renewals"), (IncidentName.STALLED,), only=("coinbase",),
    ),
    Scenario(
        # Without heartbeats of its own a stalled connection says nothing at all.
        "stall", "1 silent stall", lambda _: [{"kind": "stall", "duration_s": 7}],
        ("stalls|watchdog_reconnects", "reconnects|renewals"), only=("binance", "binance_us"),
    ),
    Scenario(
        "silence", "1 silent stall", lambda _: [{"kind": "silence", "duration_s": 6.5}],
        ("watchdog_reconnects", "reconnects"), (IncidentName.WATCHDOG,),
    ),
    Scenario(
        "dead_subscription", "2 dead subscription",
        lambda stage: [{"kind": "dead_subscription", "symbol": stage.liquid}],
        ("symbols_resubscribed", "silent_asks"), (IncidentName.SYMBOL_DEAF,),
    ),
    Scenario(
        "refused_subscription", "2 dead subscription",
        lambda stage: [{"kind": "refuse_subscription", "symbol": stage.liquid, "duration_s": 6}, DROP],
        ("subscriptions_refused",), (IncidentName.SUBSCRIPTION_REFUSED,), only=("coinbase",),
    ),
    Scenario(
        "unheard_refusal", "2 dead subscription",
        lambda stage: [{"kind": "refuse_subscription", "symbol": stage.liquid, "duration_s": 2}, DROP],
        ("symbols_resubscribed",), (IncidentName.SYMBOL_DEAF,), only=("binance", "binance_us"),
    ),
    Scenario(
        "reconnect_gap", "3 reconnect gap, and an older value first",
        lambda _: [
            {"kind": "refuse_connection", "count": 2},
            {"kind": "stale_snapshot", "duration_s": 4},
            DROP,
        ],
        ("reconnects", "connects_failed"), (IncidentName.CONNECTION_LOST,),
    ),
    Scenario(
        "repeated_frames", "4 duplicates and older values",
        lambda _: [
            {"kind": "duplicate", "count": 20},
            {"kind": "reorder", "count": 20},
            {"kind": "replay", "count": 20},
            {"kind": "garble", "count": 4},
        ],
        ("frames_repeated", "error_frames"), (IncidentName.ERROR_FRAME,),
    ),
    Scenario(
        "lost_close", "5 no close flag", lambda _: [{"kind": "lose_close", "count": 6}],
        # A minute that lasts a second may have had no frame but the lost one.
        ("unproven|silent_asks",),
    ),
    Scenario(
        "lost_frames", "5 no close flag", lambda _: [{"kind": "lose", "count": 6}],
        ("sequence_gaps", "unproven"), (IncidentName.SEQUENCE_GAP,), only=("coinbase",),
    ),
    Scenario(
        "revised", "6 revised after close",
        lambda stage: [{"kind": "revise_stream", "count": 4, "settle_ms": CORRECTED[stage.exchange]}],
        ("revised",),
    ),
    Scenario(
        "rest_behind", "7 newest closed row missing, or a cached page",
        lambda _: [
            {"kind": "late_row", "duration_s": 6},
            {"kind": "no_open_row", "duration_s": 6},
            {"kind": "stale_page", "count": 2},
            LOST_CLOSES,
        ],
        ("repair_retries|rest_retries", "rest_stale"),
    ),
    Scenario(
        "swapped_fillers", "8 omitted or zero-volume",
        lambda _: [{"kind": "swap_fillers", "duration_s": 5}, LOST_CLOSES],
        ("unproven|silent_asks",), observed_only=True,
    ),
    Scenario(
        "rate_limit", "9 rate limit and ban",
        lambda _: [{"kind": "rate_limit", "count": 1, "retry_after_s": 2}, DROP],
        ("http_429",), (IncidentName.HTTP_429,), refusals=1,
    ),
    Scenario(
        "foreign_weight", "9 rate limit and ban",
        lambda stage: [{"kind": "foreign_weight", "count": FOREIGN[stage.exchange]}, DROP],
        ("foreign_weight",), (IncidentName.FOREIGN_WEIGHT,),
    ),
    Scenario(
        "partial_subscription", "10 resubscribe storm",
        lambda _: [
            {"kind": "reject_subscription", "count": 2},
            {"kind": "lost_ack", "count": 4},
            DROP,
        ],
        ("subscribe_retries",),
    ),
    Scenario(
        "rate_cut", "10 resubscribe storm", lambda _: [{"kind": "rate_cut", "count": 1}, DROP],
        ("reconnects",), (IncidentName.CONNECTION_LOST,),
    ),
    Scenario(
        "announced_shutdown", "11 age of connections", lambda _: [{"kind": "shutdown", "duration_s": 4}],
        ("shutdown_notices", "renewals"), (IncidentName.SHUTDOWN_NOTICE,), only=("binance", "binance_us"),
    ),
    Scenario(
        "unannounced_end", "11 age of connections", lambda _: [{"kind": "close"}],
        ("reconnects",), (IncidentName.CONNECTION_LOST,),
    ),
    Scenario(
        "rest_time_ahead", "12 clock skew",
        lambda _: [{"kind": "skew", "where": "rest", "skew_ms": 600_000, "duration_s": 6}],
        ("clock_skews",), (IncidentName.CLOCK_SKEW,),
    ),
    Scenario(
        "stream_time_steps", "12 clock skew",
        lambda _: [{"kind": "skew", "where": "stream", "skew_ms": -3_000, "duration_s": 2}], (),
    ),
    Scenario(
        "rest_broken", "extra: edge pages, errors in HTTP 200, cut replies",
        lambda _: [
            {"kind": "error_page", "status": 403, "count": 3},
            {"kind": "error_body", "count": 3},
            {"kind": "broken_body", "count": 2},
            {"kind": "cut_reply", "count": 1},
            LOST_CLOSES,
        ],
        ("rest_retries",),
    ),
    Scenario(
        "outage", "extra: downtime, then candles off the grid",
        lambda _: [{"event": "outage", "minutes": 4, "off_grid_rows": 2}],
        ("off_grid", "reconnects"), (IncidentName.CONNECTION_LOST,),
    ),
]  # fmt: skip
