"""Every metric of the exporter: name, kind, labels, meaning. docs/metrics.md is this list; a test proves it.

Names follow the Prometheus conventions: base units (seconds, bytes), `_total` on counters. Labels are bounded
by the six exchanges, six timeframes, this machine's processes and names that stand in the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

__all__ = ["BEGIN", "BUCKETS_S", "COUNTERS", "END", "LATENCIES", "METRICS", "Metric", "as_markdown"]

PREFIX: Final = "livermore_"
BEGIN: Final = "<!-- made by python -m livermore_dagster.platform.metrics_catalogue -->\n"
END: Final = "\n<!-- end -->"
BUCKETS_S: Final = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` as it is scraped, less `_total`, `_bucket`, `_sum` and `_count`."""

    name: str
    kind: Literal["gauge", "counter", "histogram", "info"]
    labels: tuple[str, ...]
    help: str

    @property
    def exposed(self) -> str:
        """The name people query."""
        endings = {"counter": "_total", "info": "_info", "histogram": "_bucket"}
        return self.name + endings.get(self.kind, "")


COUNTERS: Final[Mapping[str, str]] = {
    "closes": "Candles that became final or were revised.",
    "revised": "Final candles that got other values afterwards.",
    "frames": "Stream events read.",
    "frames_repeated": "Stream frames that said nothing new.",
    "off_grid": "Candles that open off the UTC grid, kept as the exchange gave them.",
    "boundaries": "15m boundaries raised.",
    "fallback_fetches": "Boundaries fetched by the live service since no run took them up in time.",
    "fallback_failures": "Boundaries that could not be fetched that way either.",
    "unproven": "Candles whose end was not proven by the stream and that REST was asked for.",
    "silent_asks": "Silent symbols and buckets that REST was asked for.",
    "stream_pauses": "Times a connection's candles stopped and went on: what it held was doubted.",
    "unknown_bars": "Bars stepped over that were neither there nor proven absent.",
    "repair_retries": "Repairs that were asked for again.",
    "repairs_given_up": "Repairs given up until the next audit.",
    "rest_confirmed": "Candles REST gave early and was asked for once more, half a minute after their end.",
    "rest_corrected": "Those of them that had other values then.",
    "buckets_absent": "Buckets REST proved to have no candle.",
    "audit_differences": "Candles that differed from the exchange's and were repaired.",
    "alerts_stored": "Alerts stored.",
    "alerts_published": "Alerts published, each counted once.",
    "rest_retries": "REST requests sent again after a failure.",
    "rest_stale": "Replies out of a cache on the way, too old to be believed; asked for again.",
    "rest_failures": "REST requests given up after their retries.",
    "http_429": "Answers 429: the exchange's rate limit was met. Should stay 0.",
    "http_418": "Answers 418: the exchange has banned this address. Should stay 0.",
    "foreign_weight": "Request weight that others on this address have used.",
    "reconnects": "Stream connections made anew after a loss.",
    "connects_failed": "Stream connections that could not be made.",
    "renewals": "Stream connections replaced before the exchange ends them.",
    "renewals_failed": "Such replacements that failed.",
    "watchdog_reconnects": "Connections replaced because nothing came any more.",
    "stalls": "Connections replaced because their candles stood still.",
    "sequence_gaps": "Gaps in a stream's sequence numbers.",
    "shutdown_notices": "Ends of connections that the exchange announced.",
    "subscriptions_refused": "Subscriptions the exchange refused.",
    "subscribe_retries": "Subscriptions asked for again.",
    "symbols_resubscribed": "Symbols subscribed anew since they had fallen silent.",
    "symbols_gone": "Monitored symbols the exchange no longer trades.",
    "product_lists_refused": "Product lists that lacked most of what was known and were not believed.",
    "error_frames": "Error messages, and what cannot be read, received over the stream.",
    "clock_steps_back": "Times a stream's own time stepped back: what its connection held was doubted.",
    "clock_jumps_refused": "Times of the stream too far from the one before to be believed.",
    "clock_skews": "Times at which REST and stream disagreed about the time.",
    "parts_failed": "Parts of the live service that failed and were started again.",
    "commands_unrecorded": "Commands the history lacks, because PostgreSQL could not take them.",
    "pauses": "Times reading was paused since closes waited to be stored.",
    "store_retries": "Attempts to store closes again.",
    "signals_retries": "Attempts to compute signals again.",
    "fills_aside": "Entries the exchange lists among fills that are no plain fills, and in no sum.",
}
"""The plain counters of an exchange in Redis, each a metric of its own. Others are `other_events`."""

LATENCIES: Final[Mapping[str, str]] = {
    "close_lag": "From a candle's end to the proof that it is closed, by the exchange's clock (market time).",
    "close_to_alert": "From the write of a close to the publication of its alert.",
    "boundary_to_run": "From a boundary's event to the start of the Dagster run that fetches it.",
}

_EXCHANGE: Final = ("exchange",)
FIXED: Final = (
    Metric("build", "info", ("version", "provenance"), "The running platform; 1."),
    Metric("store_up", "gauge", ("store",), "Whether redis and postgresql answer (1 or 0)."),
    Metric("market_time_seconds", "gauge", (), "Market time since the epoch; wall time unless simulated."),
    Metric("process_up", "gauge", ("process",), "Whether a process of `livermore up` runs (1 or 0)."),
    Metric("process_restarts", "counter", ("process",), "How often it was restarted since `up` began."),
    Metric(
        "process_memory_bytes", "gauge", ("process",), "Memory of it and what it started (PSS, else RSS)."
    ),
    Metric("exchange_state", "gauge", ("exchange", "state"), "1 for the state the instance is in, else 0."),
    Metric(
        "exchange_healthy",
        "gauge",
        _EXCHANGE,
        "1 while healthy, starting, or idle or paused on purpose, else 0.",
    ),
    Metric("exchange_desired_running", "gauge", _EXCHANGE, "1 where the instance shall run."),
    Metric("exchange_symbols", "gauge", _EXCHANGE, "Symbols it monitors."),
    Metric(
        "exchange_best_effort_symbols",
        "gauge",
        _EXCHANGE,
        "Of them: beyond what the request limit serves in time.",
    ),
    Metric("exchange_connections", "gauge", _EXCHANGE, "Stream connections its symbols are spread over."),
    Metric("exchange_connections_up", "gauge", _EXCHANGE, "Of them: open now."),
    Metric(
        "exchange_heartbeat_age_seconds",
        "gauge",
        _EXCHANGE,
        "Since the instance's last heartbeat (every 15 s).",
    ),
    Metric(
        "exchange_settled_lag_seconds",
        "gauge",
        _EXCHANGE,
        "Market time less the time up to which all candles are settled.",
    ),
    Metric("exchange_clock_ahead_seconds", "gauge", _EXCHANGE, "Exchange's time less this machine's."),
    Metric(
        "closes_backlog_entries",
        "gauge",
        ("exchange", "group"),
        "Closes a consumer has not yet acknowledged.",
    ),
    Metric(
        "closes_standing_seconds",
        "gauge",
        ("exchange", "group"),
        "How long closes have waited while the consumer took none; 0 where none has to wait.",
    ),
    Metric("notifier_up", "gauge", (), "Whether the notifier beats (1 or 0)."),
    Metric("notifications_pending", "gauge", ("channel",), "Notifications that wait to be sent."),
    Metric(
        "notifications_day",
        "gauge",
        ("channel", "outcome"),
        "Notifications of the last 24 h: sent, failed, not_told.",
    ),
    Metric("rest_requests", "counter", ("exchange", "endpoint"), "REST requests sent."),
    Metric(
        "candles_closed",
        "counter",
        ("exchange", "timeframe"),
        "Candles that became final; livermore_revised_total counts those revised later.",
    ),
    Metric(
        "incidents",
        "counter",
        ("exchange", "incident", "severity"),
        "Incidents told (docs/runbook.md); exchange is empty where none is meant.",
    ),
    Metric(
        "other_events", "counter", ("exchange", "event"), "Counters that have no metric of their own yet."
    ),
)


def counter_metric(name: str) -> Metric:
    return Metric(name, "counter", _EXCHANGE, COUNTERS[name])


def _latency(name: str) -> Metric:
    return Metric(f"{name}_seconds", "histogram", (), LATENCIES[name])


METRICS: Final[Mapping[str, Metric]] = {
    one.name: Metric(PREFIX + one.name, one.kind, one.labels, one.help)
    for one in (*FIXED, *(_latency(name) for name in LATENCIES), *(counter_metric(name) for name in COUNTERS))
}
"""By their name without the prefix."""


def as_markdown() -> str:
    """The table of docs/metrics.md."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for one in METRICS.values():
        labels = ", ".join(f"`{label}`" for label in one.labels) or "–"
        lines.append(f"| `{one.exposed}` | {one.kind} | {labels} | {one.help} |")
    return "\n".join(lines)


def write_into(path: Path) -> None:
    """Puts the table between the marks of docs/metrics.md."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}{as_markdown()}{END}{after}")


if __name__ == "__main__":
    write_into(Path("docs/metrics.md"))
