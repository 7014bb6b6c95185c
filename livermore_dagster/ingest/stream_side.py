"""The side of an instance that faces the exchange: connections, closer, sinks, boundaries, watchdog."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final

import structlog

from livermore_dagster.errors import ExchangeUnavailable
from livermore_dagster.exchanges.connection import Connection
from livermore_dagster.exchanges.contract import TickerFrame
from livermore_dagster.exchanges.factory import connection_for
from livermore_dagster.incidents import IncidentName
from livermore_dagster.ingest.board import StatusBoard
from livermore_dagster.ingest.boundary_fallback import BoundaryFallback
from livermore_dagster.ingest.boundary_raiser import BoundaryRaiser
from livermore_dagster.ingest.candle_sink import CandleSink
from livermore_dagster.ingest.capacity import IN_TIME_S, symbols_in_time
from livermore_dagster.ingest.connections import ConnectionHub, Line, Wiring
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.ingest.housekeeping import Housekeeping
from livermore_dagster.ingest.marks import Marks
from livermore_dagster.ingest.meter import Meter
from livermore_dagster.ingest.patience import Patience
from livermore_dagster.ingest.pipeline import Pipeline
from livermore_dagster.ingest.repair import RepairQueue
from livermore_dagster.ingest.silences import Silences
from livermore_dagster.ingest.subscribing import Subscriptions
from livermore_dagster.ingest.supervise import Supervisor
from livermore_dagster.ingest.tickers import TickerSink, ticker_of
from livermore_dagster.ingest.timekeeper import TimeKeeper
from livermore_dagster.ingest.user_channel import UserChannels
from livermore_dagster.ingest.watchdog import Watchdog, traded_since
from livermore_dagster.market.closing import Closer
from livermore_dagster.market.exchange_clock import ExchangeClock
from livermore_dagster.stores.redis.symbol_events import doubt_symbol
from livermore_dagster.stores.redis.tickers import write_tickers

__all__ = ["StreamSide"]

log = structlog.get_logger(__name__)

_IN_STATUS: Final = (IncidentName.CONNECTION_LOST, IncidentName.STALLED, IncidentName.SUBSCRIPTION_REFUSED)
"""Troubles of a connection that are the instance's last error too."""
_READING: Final = ("watchdog", "clock", "refusals", "deaf", "rest_clock", "skew", "accounts", "silences")
"""Parts that have nothing to do once the sockets are closed."""
_WRITING: Final = ("boundaries", "sink", "tickers", "repairs", "figures")
_DRAIN_S: Final = 1.2
_OVERLAP_S: Final = 2.0
"""Old and new connections both deliver for this long, so that nothing falls between them."""
_LOOK_S: Final = 0.05


class StreamSide:
    """One from its opening to its close; after a pause there is another. Its parts run in `supervisor`."""

    def __init__(
        self,
        ctx: ExchangeContext,
        board: StatusBoard,
        supervisor: Supervisor,
        symbols: Sequence[str],
        patience: Patience,
    ) -> None:
        """`symbols` in rank order. Needs a running loop."""
        self._ctx = ctx
        self._board = board
        self._supervisor = supervisor
        self._symbols = tuple(symbols)
        self._patience = patience
        self._broken = False
        self._stop = asyncio.Event()
        row, quirks, clock = ctx.row, ctx.quirks, ctx.clock
        self.exchange_clock = ExchangeClock()
        self.closer = _closer(ctx, self._symbols, patience)
        self.repairs = RepairQueue(ctx, self.closer, retry_after_s=patience.repair_s, on_deaf=self._tell_deaf)
        ctx.on_early = self.repairs.confirm
        self.fallback = BoundaryFallback(ctx, self.repairs, lambda: self._symbols)
        self.meter = Meter(row.id, self.closer, self.exchange_clock, self.repairs.total)
        self.sink = CandleSink(ctx.cache, ctx.table, row.id, clock, self.meter.closed)
        self.tickers = TickerSink(self._write_tickers, clock)
        self._silences = Silences(ctx, lambda: self._symbols)
        self.raiser = self._boundary_raiser()
        self.pipeline = Pipeline(
            self.closer,
            self.exchange_clock,
            clock,
            self.sink,
            self.tickers,
            self.raiser,
            self.repairs,
            self.meter,
            on_trouble=self._tell_trouble,
            on_renew=self._renew,
        )
        lived = quirks if patience.lifetime_s is None else replace(quirks, lifetime_s=patience.lifetime_s)
        wiring = Wiring(
            lived,
            self._connect,
            self.pipeline,
            clock,
            self._tell_connections,
            patience.stable_s,
            ctx.gate,
        )
        self.hub = ConnectionHub(row.name, self._symbols, wiring)
        self._subscriptions = Subscriptions(self.hub, self.pipeline, self.meter, clock, patience, self._doubt)
        self._time = TimeKeeper(
            ctx, self.exchange_clock, self.pipeline, self.meter, patience, lambda: bool(self._symbols)
        )
        marks = Marks(self.closer, self.exchange_clock, self.pipeline, row.name)
        self._house = Housekeeping(ctx, self.pipeline, self.meter, self._board, marks)

    def _boundary_raiser(self) -> BoundaryRaiser:
        ctx, row = self._ctx, self._ctx.row
        return BoundaryRaiser(
            ctx.redis,
            row,
            ctx.clock,
            grace_ms=ctx.quirks.grace_ms,
            by=f"ingest:{row.name}",
            settled=self._split,
            fetch=self.fallback.fetch,
            on_fallback=self._tell_fallback,
            on_failure=self._tell_fallback_failure,
            on_begun=lambda _: self.meter.count("fallback_fetches"),
            on_raised=self._silences.raised,
            on_handled=self.fallback.look_for_late_rows,
            leave=self.fallback.leave_failed,
        )

    # --- opening and closing ------------------------------------------------------------------------------
    def open(self) -> None:
        self._tell_capacity()
        ctx, start = self._ctx, self._supervisor.start
        start("sink", self.sink.run)
        start("tickers", self.tickers.run)
        start("boundaries", self.raiser.run)
        start("repairs", lambda: self.repairs.run(self._stop))
        start("accounts", UserChannels(ctx, self._board, self.pipeline.on_limited).run)
        start("clock", self.pipeline.run)
        start("figures", self._house.figures)
        start("silences", self._silences.run)
        start("rest_clock", self._time.rest_clock)
        start("skew", self._time.skew)
        start("refusals", self._subscriptions.refused)
        start("deaf", self._subscriptions.deaf)
        watchdog = Watchdog(
            self.hub,
            self.pipeline.heard,
            lambda symbol: traded_since(ctx, symbol),
            ctx.clock,
            self._tell_watchdog,
            self._patience,
            self.pipeline.updated,
            self.pipeline.beats if ctx.quirks.heartbeats else None,
        )
        start("watchdog", watchdog.run)
        self._start_lines(self.hub.lines)

    def _start_lines(self, lines: Sequence[Line]) -> None:
        for line in lines:
            self._supervisor.start(line.name, line.run)

    def warmed(self) -> None:
        """The gap before it is filled: boundaries are raised from here on."""
        self.raiser.open()

    async def close(self) -> None:
        """Sockets first, then what they brought is written; within 2 s."""
        await self._supervisor.stop(*_READING, *self._line_names())
        await self.raiser.close()
        await self._supervisor.stop("boundaries")
        await _within(self.sink.drained(), _DRAIN_S, "sink")
        self._stop.set()
        await self._supervisor.stop(*_WRITING)
        await _within(self.meter.flush(self._ctx.redis), 0.5, "figures")
        self._board.facts(connections=0, connections_up=0)

    async def abort(self) -> None:
        """Ends everything at once."""
        self._stop.set()
        await self._supervisor.stop(*_READING, *self._line_names())
        await self.raiser.close()
        await self._supervisor.stop(*_WRITING)

    def _line_names(self) -> list[str]:
        return [line.name for line in self.hub.lines]

    # --- other symbols ------------------------------------------------------------------------------------
    @property
    def symbols(self) -> tuple[str, ...]:
        return self._symbols

    async def change(self, symbols: Sequence[str]) -> None:
        """From now on these symbols, in rank order: new connections flow before old ones end.

        What stays keeps its state and its proofs. Raises ExchangeUnavailable, and goes on as before, when the
        new connections bring nothing in time; so it does when cancelled.
        """
        before, wanted = self._symbols, tuple(symbols)
        self.closer.monitor([*wanted, *(symbol for symbol in before if symbol not in set(wanted))])
        fresh, leaving = self.hub.change(wanted)
        changed = False
        try:
            self._start_lines(fresh)
            await self._flow(fresh)
            changed = True
        finally:
            if not changed:
                self.closer.monitor(before)
                self.hub.drop(fresh)
                await self._supervisor.stop(*(line.name for line in fresh)) if fresh else None
        self._symbols = wanted
        self.hub.drop(leaving)
        if leaving:
            await self._supervisor.stop(*(line.name for line in leaving))
        self.tickers.forget(set(before) - set(wanted))
        self.closer.monitor(wanted)
        self._tell_capacity()
        self._tell_connections()

    async def _flow(self, fresh: Sequence[Line]) -> None:
        clock, patience_s = self._ctx.clock, self._patience.change_s
        deadline = clock.monotonic() + patience_s
        while not all(line.flows for line in fresh):
            if clock.monotonic() >= deadline:
                mute = [line for line in fresh if not line.flows]
                why = next((line.last_reason for line in mute if line.last_reason), "nothing came")
                raise ExchangeUnavailable(
                    f"{self._ctx.row.name}: {len(mute)} of {len(fresh)} new connections brought nothing "
                    f"within {patience_s:.0f} s ({why}); its symbols stay as they were."
                )
            await clock.sleep(_LOOK_S)
        if fresh:
            await clock.sleep(_OVERLAP_S)

    # --- what the parts need of each other ----------------------------------------------------------------
    def _connect(self, symbols: Sequence[str], name: str) -> Connection:
        row = self._ctx.row
        patience = self._patience.ack_s
        return connection_for(
            row, symbols, row.streamed_timeframes, self._ctx.clock, name, ack_patience_s=patience
        )

    async def _doubt(self, symbol: str, why: str) -> None:
        await doubt_symbol(self._ctx.redis, self._ctx.row.id, symbol, why, self._ctx.clock.now_ms())

    def _renew(self, connection: str) -> None:
        """Only the socket that is open: what an earlier one of its line says is told already."""
        line = self.hub.line_of(connection)
        if line is not None and line.connection is not None and line.connection.name == connection:
            line.renew()

    async def _write_tickers(self, frames: Sequence[TickerFrame]) -> None:
        await write_tickers(
            self._ctx.redis, self._ctx.row.id, self._ctx.row.name, [ticker_of(one) for one in frames]
        )

    def _split(self, boundary_ms: int) -> tuple[list[str], list[str]]:
        """Monitored symbols whose streamed candles up to the boundary are settled, and the others."""
        settled: list[str] = []
        unsettled: list[str] = []
        for symbol in self._symbols:
            done = all(
                self.closer.series_settled_until(symbol, timeframe) >= timeframe.open_of(boundary_ms)
                for timeframe in self._ctx.row.streamed_timeframes
            )
            (settled if done else unsettled).append(symbol)
        return settled, unsettled

    # --- telling ------------------------------------------------------------------------------------------
    def _tell_capacity(self) -> None:
        """A list longer than the exchange's limit can serve in time: its lower ranks are best effort."""
        in_time, wanted = symbols_in_time(self._ctx.row), len(self._symbols)
        late = 0 if in_time is None else max(0, wanted - in_time)
        self._board.facts(best_effort=late)
        if late:
            text = (
                f"{self._ctx.row.name}: its request limit serves {in_time} of {wanted} symbols within "
                f"{IN_TIME_S} s of 00:00 UTC; the {late} ranked lowest are best effort."
            )
            self._board.trouble(IncidentName.CAPACITY, text)

    def _tell_fallback(self, text: str, missing: bool) -> None:
        if missing:
            self._board.trouble(IncidentName.BOUNDARY_FALLBACK, text)
        else:
            log.info("boundary_not_waited_for", text=text)

    async def _tell_fallback_failure(self, text: str) -> None:
        self.meter.count("fallback_failures")
        self._board.trouble(IncidentName.BOUNDARY_FALLBACK_FAILED, text)

    def _tell_trouble(self, name: IncidentName, connection: str, text: str) -> None:
        self._board.trouble(name, f"{connection}: {text}", error=name in _IN_STATUS)

    def _tell_deaf(self, symbol: str) -> None:
        self.pipeline.on_notice(
            IncidentName.SYMBOL_DEAF, self._ctx.row.name, f"{symbol} trades and its stream says nothing"
        )
        self._subscriptions.renew(symbol)

    def _tell_watchdog(self, line: Line, reason: str) -> None:
        self.meter.count("watchdog_reconnects")
        self._board.trouble(IncidentName.WATCHDOG, f"{line.name}: {reason}")

    def _tell_connections(self) -> None:
        board, name, up = self._board, self._ctx.row.name, self.hub.up
        broken = self.hub.breaker_open
        if broken and not self._broken:
            reasons = "; ".join(line.last_reason for line in self.hub.lines if line.backoff.breaker_open)
            text = f"{name}: connecting has failed five times in a row, it is tried on slowly: {reasons}"
            board.trouble(IncidentName.BREAKER_OPEN, text, error=True)
        self._broken = broken
        board.facts(connections=len(self.hub.lines), connections_up=up, breaker_open=broken)
        if up == len(self.hub.lines):
            board.facts(connected_at=self._ctx.clock.now_ms())


async def _within(work: Coroutine[Any, Any, None], seconds: float, what: str) -> None:
    """Gives `work` its time and no more."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        log.warning("cut_short", what=what, seconds=seconds)


def _closer(ctx: ExchangeContext, symbols: Sequence[str], patience: Patience) -> Closer:
    quirks = ctx.quirks
    return Closer(
        symbols,
        ctx.row.streamed_timeframes,
        flagged=quirks.closed_flag,
        fills_empty=quirks.rest_fills_empty,
        grace_ms=quirks.grace_ms,
        silent_wait_ms=int(patience.silence_s * 1000),
        flow_wait_ms=int(patience.flow_s * 1000),
        flag_wait_ms=int(patience.flag_s * 1000),
    )
