"""From a connection's events to writes, questions and boundaries: all of it at once, nothing of it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from livermore_dagster.clock import Clock
from livermore_dagster.exchanges.contract import (
    CandleFrame,
    ErrorFrame,
    Heartbeat,
    Refusal,
    SequenceGap,
    ShutdownNotice,
    StreamEvent,
    TickerFrame,
)
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.boundary_raiser import BoundaryRaiser
from livermore_dagster.ingest.candle_sink import CandleSink
from livermore_dagster.ingest.connections import RENEWED, STOPPED
from livermore_dagster.ingest.meter import Meter
from livermore_dagster.ingest.repair import RepairQueue
from livermore_dagster.ingest.throttle import Throttle
from livermore_dagster.ingest.tickers import TickerSink
from livermore_dagster.market.closing import Closer, Effects
from livermore_dagster.market.exchange_clock import ExchangeClock

__all__ = ["Pipeline"]

log = structlog.get_logger(__name__)

_TICK_S = 0.1


class Pipeline:
    """The `StreamSink` of one exchange's connections."""

    def __init__(
        self,
        closer: Closer,
        exchange_clock: ExchangeClock,
        clock: Clock,
        sink: CandleSink,
        tickers: TickerSink,
        raiser: BoundaryRaiser,
        repairs: RepairQueue,
        meter: Meter,
        on_trouble: Callable[[IncidentName, str, str], None],
        on_renew: Callable[[str], None],
    ) -> None:
        """`on_trouble(what, connection, text)` tells people; `on_renew(connection)` has it replaced."""
        self.heard: dict[str, float] = {}
        """Monotonic seconds of each symbol's last frame, candle or ticker."""
        self.beats: dict[str, float] = {}
        """Monotonic seconds of each connection's last heartbeat."""
        self.updated: dict[str, float] = {}
        """Monotonic seconds of each connection's last candle update; snapshots are none."""
        self.refused: dict[str, set[str]] = {}
        """Symbols whose subscription was refused, by connection."""
        self._closer = closer
        self._exchange_clock = exchange_clock
        self._clock = clock
        self._sink = sink
        self._tickers = tickers
        self._raiser = raiser
        self._repairs = repairs
        self._meter = meter
        self._on_trouble = on_trouble
        self.on_notice = Throttle(on_trouble, clock)
        """Tells what an exchange may send by the hundred."""
        self._on_renew = on_renew
        self._gate = asyncio.Event()
        self._gate.set()

    # --- the stream sink ----------------------------------------------------------------------------------
    def on_open(self, connection: str, symbols: Sequence[str]) -> None:
        log.info("connection_open", connection=connection, symbols=len(symbols))

    def on_events(self, connection: str, events: Sequence[StreamEvent]) -> None:
        now = self._clock.monotonic()
        observe, heard = self._exchange_clock.observe, self.heard
        frames: list[CandleFrame] = []
        self._exchange_clock.heard(connection, now)
        for event in events:
            if isinstance(event, CandleFrame):
                observe(connection, event.event_ms, now)
                heard[event.symbol] = now
                frames.append(event)
            elif isinstance(event, TickerFrame):
                observe(connection, event.event_ms, now)
                heard[event.symbol] = now
                self._tickers.offer(event)
            elif isinstance(event, Heartbeat):
                self.beats[connection] = now
                if event.event_ms is not None:
                    observe(connection, event.event_ms, now)
            else:
                self._close(frames, connection)
                frames = []
                self._on_notice(connection, event)
        self._meter.count("frames", len(events))
        if frames:
            if not frames[-1].snapshot:
                self.updated[connection] = now
            self._close(frames, connection)
        self.tick()

    def on_break(self, connection: str, reason: str) -> None:
        self._exchange_clock.drop(connection)
        self.refused.pop(connection, None)
        self.beats.pop(connection, None)
        self.updated.pop(connection, None)
        self._apply(self._closer.on_break(connection, reason))
        if reason not in (RENEWED, STOPPED):
            self._meter.count("reconnects")
            self._on_trouble(IncidentName.CONNECTION_LOST, connection, reason)
        elif reason == RENEWED:
            self._meter.count("renewals")

    def on_failure(self, connection: str, reason: str) -> None:
        self._meter.count("connects_failed")

    def on_limited(self, connection: str, status: int, reason: str) -> None:
        """Counted and told as a refusal of REST is: to the exchange it is all the same."""
        self._meter.count(f"http_{status}")
        self.on_notice(IncidentName.HTTP_429 if status == 429 else IncidentName.HTTP_418, connection, reason)

    def on_unrenewed(self, connection: str) -> None:
        self._meter.count("renewals_failed")
        text = "no successor brought anything in time; it is kept, and tried again"
        self.on_notice(IncidentName.RENEWAL_FAILED, connection, text)

    async def ready(self) -> None:
        await self._gate.wait()

    # --- time ---------------------------------------------------------------------------------------------
    def now(self) -> int | None:
        """The exchange's clock."""
        return self._exchange_clock.now(self._clock.monotonic())

    def tick(self) -> None:
        """Closes what the exchange's clock proves closed, and raises a boundary it has passed."""
        now = self.now()
        if now is not None:
            self._closer.speed = self._exchange_clock.speed
            self._apply(self._closer.on_clock(now))
            self._raiser.on_clock(now)

    async def run(self) -> None:
        """Until cancelled: judges silence, which no frame announces."""
        while True:
            await self._clock.sleep(_TICK_S)
            self.tick()
            self.on_notice.look()

    # --- back-pressure ------------------------------------------------------------------------------------
    @property
    def paused(self) -> bool:
        return not self._gate.is_set()

    def pause(self) -> None:
        """Sockets are read no further; the exchange's frames wait in them, or the connection breaks."""
        self._gate.clear()

    def resume(self) -> None:
        self._gate.set()

    # --- inside -------------------------------------------------------------------------------------------
    def _on_notice(self, connection: str, event: StreamEvent) -> None:
        if isinstance(event, SequenceGap):
            self._meter.count("sequence_gaps")
            reason = f"sequence gap: expected {event.expected}, got {event.got}"
            self._apply(self._closer.on_break(connection, reason))
            self.on_notice(IncidentName.SEQUENCE_GAP, connection, reason)
        elif isinstance(event, ShutdownNotice):
            self._meter.count("shutdown_notices")
            self.on_notice(IncidentName.SHUTDOWN_NOTICE, connection, "the exchange will end it soon")
            self._on_renew(connection)
        elif isinstance(event, Refusal):
            self._meter.count("subscriptions_refused")
            if event.symbol is not None:
                self.refused.setdefault(connection, set()).add(event.symbol)
            what = event.symbol or f"message {event.request_id}"
            self.on_notice(IncidentName.SUBSCRIPTION_REFUSED, connection, f"{what} refused: {event.reason}")
        elif isinstance(event, ErrorFrame):
            self._meter.count("error_frames")
            if event.loses_candles:
                self._apply(self._closer.on_unread(connection, event.symbol, event.message))
            self.on_notice(IncidentName.ERROR_FRAME, connection, event.message)

    def _close(self, frames: Sequence[CandleFrame], connection: str) -> None:
        # After an outage the frames themselves tell the time; the closer's own moves only behind them.
        self._closer.observed_ms = self.now() or 0
        self._apply(self._closer.on_frames(frames, connection))

    def _apply(self, effects: Effects) -> None:
        if effects.writes:
            self._sink.offer(effects.writes)
        if effects.questions:
            self._repairs.put(effects.questions)
        for connection, wrong in effects.disbelieved:
            self._meter.count("error_frames")
            self.on_notice(IncidentName.ERROR_FRAME, connection, f"malformed candle: {wrong}")
        for connection in effects.stalled:
            self._meter.count("stalls")
            self._on_trouble(IncidentName.STALLED, connection, "the candle stream stands still")
            self._on_renew(connection)
