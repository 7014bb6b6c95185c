"""What is known of one series, gathered for an explanation of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from livermore_dagster.market.timeframe import Timeframe

__all__ = ["AlertFacts", "KnownSeries"]


@dataclass(frozen=True, slots=True)
class AlertFacts:
    """A stored alert and what became of it. `deliveries`: (channel, state, why or '') of each."""

    label: str
    candle_end_ms: int
    macdv: float
    late: bool
    revised: bool
    withdrawn: bool
    published: bool
    deliveries: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class KnownSeries:
    """All that is known of one series. Times are epoch ms of market time, spans half open."""

    exchange: str
    symbol: str
    timeframe: Timeframe
    now_ms: int
    live: bool
    """The timeframe comes by itself here: streamed, or fetched at boundaries."""
    streamed: bool
    instance_state: str
    """As `status` says: idle, starting, warming, active, offline …"""
    instance_error: str | None = None
    wanted: bool = True
    """It shall run: where it does not, it is started again by itself."""
    paused: bool = False
    mode: str = "scalper-macdv"
    """What it monitors: 'position-monitor' only what is held."""
    computed: bool = True
    """An active user wants the timeframe, so MACD-V and alerts of it are computed."""
    monitored: bool = False
    cached: int = 0
    """Final candles in the cache."""
    stored: int = 0
    """Final candles in PostgreSQL, counted up to 10,000."""
    stored_from_ms: int | None = None
    stored_to_ms: int | None = None
    first_ms: int | None = None
    """Open of the first candle the exchange has, where that is known."""
    gaps: Sequence[tuple[int, int]] = ()
    """Unknown spans among the newest candles: neither there nor proven absent."""
    absent: Sequence[tuple[int, int]] = ()
    """Spans REST proved empty, newest last."""
    # --- the value
    value: float | None = None
    signal: float | None = None
    histogram: float | None = None
    stage: str = "unknown"
    reason: str | None = None
    observed: bool = True
    n_eff: int = 0
    span_bars: int = 0
    warming: bool = False
    value_open_ms: int | None = None
    unknown_bars: int = 0
    # --- the rules
    judged: bool = False
    """A watermark is set: closes after it are judged."""
    watermark_ms: int | None = None
    armed: bool = True
    cooldowns: Sequence[tuple[str, int]] = ()
    """Label and candle end of each alert still cooling down."""
    last_label: str | None = None
    previous: tuple[float, int] | None = None
    """Value of the observed candle before, and the bars between."""
    whole_history: bool = False
    """No older candles exist: it may alert while warming."""
    alerts: Sequence[AlertFacts] = field(default_factory=tuple)
    """Newest first."""
    mutes: Sequence[str] = ()
    """What silences it, in words."""
