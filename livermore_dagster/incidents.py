"""Every incident Livermore tells by name: how grave it is, what it means, which counters show its size.

The one catalogue. It stands at the very bottom because stores and exchanges tell incidents too.
`docs/runbook.md` has a section for each name; a test keeps catalogue, runbook and counters together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["CATALOGUE", "IncidentKind", "IncidentName", "Severity", "kind_of", "runbook"]


class Severity(StrEnum):
    INFO = "info"
    """Good news: something that was told before is over."""
    WARNING = "warning"
    """Survived without anybody's help."""
    ERROR = "error"
    """Somebody should look."""


class IncidentName(StrEnum):
    # Requests to an exchange.
    HTTP_429 = "http_429"
    HTTP_418 = "http_418"
    FOREIGN_WEIGHT = "foreign_weight"
    REST_UNAVAILABLE = "rest_unavailable"
    # Its stream.
    CONNECTION_LOST = "connection_lost"
    BREAKER_OPEN = "breaker_open"
    WATCHDOG = "watchdog"
    STALLED = "stalled"
    SEQUENCE_GAP = "sequence_gap"
    SUBSCRIPTION_REFUSED = "subscription_refused"
    SYMBOL_DEAF = "symbol_deaf"
    ERROR_FRAME = "error_frame"
    SHUTDOWN_NOTICE = "shutdown_notice"
    RENEWAL_FAILED = "renewal_failed"
    # Its clock.
    CLOCK_JUMP = "clock_jump"
    CLOCK_SKEW = "clock_skew"
    OWN_CLOCK = "own_clock"
    # Its candles.
    FLAGS_LOST = "flags_lost"
    REPAIR_GIVEN_UP = "repair_given_up"
    BOUNDARY_FALLBACK = "boundary_fallback"
    BOUNDARY_FALLBACK_FAILED = "boundary_fallback_failed"
    AUDIT = "audit"
    # What is monitored.
    CAPACITY = "capacity"
    SYMBOL_GONE = "symbol_gone"
    PRODUCT_LIST_CUT = "product_list_cut"
    # The instance and its servers.
    INSTANCE_OFFLINE = "instance_offline"
    INSTANCE_BACK = "instance_back"
    START_FAILED = "start_failed"
    WARMUP_FAILED = "warmup_failed"
    INGEST_FAILED = "ingest_failed"
    PART_FAILED = "part_failed"
    COMMANDS_UNRECORDED = "commands_unrecorded"
    BACKLOG = "backlog"
    STORE_WAITING = "store_waiting"
    STORE_RESUMED = "store_resumed"
    SIGNALS_WAITING = "signals_waiting"
    SIGNALS_RESUMED = "signals_resumed"
    # Accounts.
    ACCOUNT_REFUSED = "account_refused"
    ACCOUNT_UNREAD = "account_unread"
    FILL_CHANGED = "fill_changed"
    FILL_ASIDE = "fill_aside"
    # Indicators.
    FOLD_FAILED = "fold_failed"
    SERIES_ASIDE = "series_aside"
    SERIES_RESUMED = "series_resumed"


@dataclass(frozen=True, slots=True)
class IncidentKind:
    """`words`: one sentence for people who do not know the name. `counters`: of the exchange's counters."""

    severity: Severity
    words: str
    counters: tuple[str, ...] = ()


def _info(words: str, *counters: str) -> IncidentKind:
    return IncidentKind(Severity.INFO, words, counters)


def _warning(words: str, *counters: str) -> IncidentKind:
    return IncidentKind(Severity.WARNING, words, counters)


def _error(words: str, *counters: str) -> IncidentKind:
    return IncidentKind(Severity.ERROR, words, counters)


_N = IncidentName

CATALOGUE: Final[Mapping[IncidentName, IncidentKind]] = {
    _N.HTTP_429: _error("The exchange refused a request because of its rate limit.", "http_429"),
    _N.HTTP_418: _error("The exchange has banned this address for a while.", "http_418"),
    _N.FOREIGN_WEIGHT: _warning(
        "Something else on this address uses up the exchange's request limit.", "foreign_weight"
    ),
    _N.REST_UNAVAILABLE: _warning(
        "The exchange's REST API did not answer in its own protocol, not even when asked again.",
        "rest_retries",
        "rest_failures",
        "rest_stale",
    ),
    _N.CONNECTION_LOST: _warning("A stream's connection broke and is made anew.", "reconnects"),
    _N.BREAKER_OPEN: _error("Connecting to the exchange has failed five times in a row.", "connects_failed"),
    _N.WATCHDOG: _warning(
        "An open connection brought nothing any more and was replaced.", "watchdog_reconnects"
    ),
    _N.STALLED: _warning("A connection lived on while its candles stood still, and was replaced.", "stalls"),
    _N.SEQUENCE_GAP: _warning("Frames of a stream were lost on the way.", "sequence_gaps"),
    _N.SUBSCRIPTION_REFUSED: _warning(
        "The exchange does not stream a symbol although it was asked to.",
        "subscriptions_refused",
        "subscribe_retries",
    ),
    _N.SYMBOL_DEAF: _warning(
        "A symbol trades and its stream says nothing; it was subscribed anew.", "symbols_resubscribed"
    ),
    _N.ERROR_FRAME: _warning(
        "The exchange sent an error message over the stream, or something that cannot be read.",
        "error_frames",
    ),
    _N.SHUTDOWN_NOTICE: _warning(
        "The exchange announced the end of a connection, which was replaced before.",
        "shutdown_notices",
        "renewals",
    ),
    _N.RENEWAL_FAILED: _warning(
        "A connection that nears its end could not be replaced yet.", "renewals_failed"
    ),
    _N.CLOCK_JUMP: _warning(
        "The exchange's stream told a time too far from the one before to be believed, or stepped back.",
        "clock_jumps_refused",
        "clock_steps_back",
    ),
    _N.CLOCK_SKEW: _warning("The exchange's REST API and its stream tell different times.", "clock_skews"),
    _N.OWN_CLOCK: _warning("This machine's clock differs from the exchange's by more than a second."),
    _N.FLAGS_LOST: _warning(
        "Candles ended without the exchange's word that they are closed; REST was asked.", "unproven"
    ),
    _N.REPAIR_GIVEN_UP: _warning(
        "Candles could not be had by REST for now; the next audit asks again.", "repairs_given_up"
    ),
    _N.BOUNDARY_FALLBACK: _warning(
        "No Dagster run took up a boundary in time, so the live service fetched it.", "fallback_fetches"
    ),
    _N.BOUNDARY_FALLBACK_FAILED: _error(
        "Candles that closed at a boundary could not be fetched.",
        "fallback_failures",
    ),
    _N.AUDIT: _warning("Stored candles differed from the exchange's and were repaired.", "audit_differences"),
    _N.CAPACITY: _warning("More symbols are monitored than the exchange's request limit serves in time."),
    _N.SYMBOL_GONE: _warning(
        "A listed symbol no longer trades at the exchange and is left out.", "symbols_gone"
    ),
    _N.PRODUCT_LIST_CUT: _warning(
        "The exchange's product list lacked most of what was known and was not believed.",
        "product_lists_refused",
    ),
    _N.INSTANCE_OFFLINE: _warning("An exchange's live service ended without a word."),
    _N.INSTANCE_BACK: _info("An exchange is active again after its live service had gone."),
    _N.START_FAILED: _error("An exchange's live service could not start."),
    _N.WARMUP_FAILED: _warning("The history of some symbols could not be read yet and is asked for again."),
    _N.INGEST_FAILED: _error("An exchange's live service ended because of an error."),
    _N.PART_FAILED: _warning("A part of the live service failed and was started again.", "parts_failed"),
    _N.COMMANDS_UNRECORDED: _error(
        "The history lacks commands, because PostgreSQL could not take them.", "commands_unrecorded"
    ),
    _N.BACKLOG: _error("Closes are read faster than they are stored, so reading pauses.", "pauses"),
    _N.STORE_WAITING: _warning("Closes wait for a server to be stored.", "store_retries"),
    _N.STORE_RESUMED: _info("Closes are stored again."),
    _N.SIGNALS_WAITING: _warning("Indicators and alerts wait for a server.", "signals_retries"),
    _N.SIGNALS_RESUMED: _info("Indicators and alerts are computed again."),
    _N.ACCOUNT_REFUSED: _error("The exchange does not accept an account's key, or it is not to be found."),
    _N.ACCOUNT_UNREAD: _error(
        "An account's trades could not be read by several runs; its next news start another."
    ),
    _N.FILL_CHANGED: _error("The exchange tells a fill otherwise than before; the first version stands."),
    _N.FILL_ASIDE: _warning(
        "The exchange lists entries among the fills that are no plain fills; no report counts them.",
        "fills_aside",
    ),
    _N.FOLD_FAILED: _error("An indicator could not be computed and starts anew from its candles."),
    _N.SERIES_ASIDE: _error("An indicator cannot be computed; its series raises no alerts until it can."),
    _N.SERIES_RESUMED: _info("An indicator that could not be computed is computed again."),
}


def kind_of(name: IncidentName) -> IncidentKind:
    return CATALOGUE[name]


def runbook(name: str) -> str:
    """Where the documentation says what to do."""
    return f"docs/runbook.md#{name}"
