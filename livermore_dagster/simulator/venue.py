"""One simulated exchange's books: its products, its market and its clock, read as rows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from livermore_dagster.market.candle import canonical
from livermore_dagster.simulator.bars import Bar
from livermore_dagster.simulator.clock import MarketClock
from livermore_dagster.simulator.events import BadEvent, Event, EventKind, Fate, checked_event
from livermore_dagster.simulator.market import MINUTE_MS, SymbolMarket
from livermore_dagster.simulator.recorded import Recorded, Series
from livermore_dagster.simulator.universe import Listing, new_listing, recorded_listing, universe

__all__ = ["DAY_MS", "INTERVALS", "Day", "Venue", "fixed"]

DAY_MS = 1440 * MINUTE_MS
_SETTLING_MS = 15_001
INTERVALS = {
    "1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "6h": 360, "8h": 480,
    "12h": 720, "1d": 1440,
}  # fmt: skip
"""Minutes of each interval; all divide a day, so every bar stands on the UTC grid."""


def fixed(units: int, decimals: int, places: int) -> str:
    """`units` of 10**-decimals with exactly `places` (≥ decimals, ≥ 1) digits after the point."""
    text = str(units * 10 ** (places - decimals)).zfill(places + 1)
    return f"{text[:-places]}.{text[-places:]}"


class Day:
    """Rolling 24 hours of a symbol, in ticks; prices are 0 for a symbol without any trade yet."""

    __slots__ = ("ask", "bid", "high", "last", "low", "open")

    def __init__(self, bars: list[Bar], last: int) -> None:
        self.last = last
        self.open = bars[0].open if bars else last
        self.high = max((bar.high for bar in bars), default=last)
        self.low = min((bar.low for bar in bars), default=last)
        spread = max(1, last // 20_000)
        self.bid, self.ask = max(last - spread, 0), last + spread if last else 0


class Venue:
    """Rows of one exchange. `fills`: bars without trades are flat rows of volume 0; otherwise left out."""

    def __init__(self, name: str, seed: int, clock: MarketClock, *, fills: bool, symbols: int = 40) -> None:
        self.name, self.seed, self.clock, self.fills = name, seed, clock, fills
        self.listings: dict[str, Listing] = {
            listing.symbol: listing for listing in universe(name, seed, clock.origin_ms, symbols)
        }
        self.fate = Fate()
        self.recorded: dict[str, Recorded] = {}
        """Symbols that play a recorded series instead of a drawn market."""
        self._markets: dict[str, SymbolMarket] = {}
        self._day_bars = lru_cache(maxsize=4096)(self._draw_day_bars)

    def canonical_symbol(self, symbol: str) -> str:
        """The id a product's book is kept under. Raises KeyError for an unknown symbol."""
        return self.listings[symbol].alias_of or symbol

    def market(self, symbol: str) -> SymbolMarket:
        symbol = self.canonical_symbol(symbol)
        found = self._markets.get(symbol)
        if found is None:
            found = self._markets[symbol] = SymbolMarket(self.seed, self.listings[symbol].plan)
            if self.fate.events:
                found.keep_quiet(self.fate.quiet(symbol))
        return found

    # --- what befalls the market ------------------------------------------------------------------------
    def befall(self, wanted: Mapping[str, Any], now_ms: int) -> Event:
        """Takes an event (events.checked_event). Raises BadEvent."""
        event = checked_event(wanted, self.listings, now_ms)
        if event.event is EventKind.LISTING:
            self._list(event)
        else:
            if event.symbol is not None:
                event = replace(event, symbol=self.canonical_symbol(event.symbol))
                if event.symbol in self.recorded:
                    raise BadEvent(f"{event.symbol} plays a recorded series, which nothing befalls")
            self.fate.add(event)
        for symbol, market in self._markets.items():
            if event.symbol in (None, symbol):
                market.keep_quiet(self.fate.quiet(symbol))
        return event

    def _list(self, event: Event) -> None:
        listing = new_listing(
            self.name, self.seed, str(event.base), event.price, event.quote_volume, event.at_ms
        )
        if listing.symbol in self.listings:
            raise BadEvent(f"{listing.symbol} is listed already")
        self.fate.add(event)
        self.listings[listing.symbol] = listing

    def play_recorded(self, symbol: str, series: Sequence[Series]) -> None:
        """Plays these series under the symbol, which the exchange then lists if it did not."""
        recorded = self.recorded[symbol] = Recorded(series)
        known = self.listings.get(symbol)
        self.listings[symbol] = recorded_listing(self.name, symbol, recorded.figures, known)

    def visible(self) -> list[Listing]:
        """Products on the exchange's list now."""
        listings = self.listings.values()
        return [item for item in listings if self.is_visible(item)] if self.fate.events else list(listings)

    def is_visible(self, item: Listing) -> bool:
        now = self.clock.now_ms()
        symbol = item.alias_of or item.symbol
        to_come = [event.at_ms for event in self.fate.of(EventKind.LISTING) if event.base == item.base]
        return not self.fate.is_gone(symbol, now) and not any(
            now < at_ms == item.plan.listed_ms for at_ms in to_come
        )

    def is_trading(self, item: Listing) -> bool:
        return item.trading and not self.fate.is_halted(item.alias_of or item.symbol, self.clock.now_ms())

    def is_quoted(self, item: Listing, now_ms: int) -> bool:
        """Whether frames of it are sent at all."""
        gone = self.fate.events and self.fate.is_gone(item.alias_of or item.symbol, now_ms)
        return item.trading and now_ms >= item.plan.listed_ms and not gone

    def quote_volume(self, item: Listing) -> float:
        """Stated 24 h volume in quote currency."""
        if not self.fate.events:
            return item.quote_volume
        symbol = item.alias_of or item.symbol
        return self.fate.quote_volume(symbol, item.quote_volume, self.clock.now_ms())

    def is_dark(self) -> bool:
        """Whether the exchange is down now."""
        return bool(self.fate.events) and self.fate.is_dark(self.clock.now_ms())

    # --- rows -------------------------------------------------------------------------------------------

    async def prepare(self, symbol: str, minutes: int, start_ms: int, end_ms: int) -> None:
        """Draws what `rows` will need, giving way to the sockets in between: 300 days take a while."""
        if not self.listings[symbol].trading or symbol in self.recorded:
            return
        market = self.market(symbol)
        for block in market.undrawn(minutes, start_ms, min(end_ms, self.clock.now_ms())):
            market.draw_block(block)
            await asyncio.sleep(0)

    def rows(
        self,
        symbol: str,
        minutes: int,
        start_ms: int,
        end_ms: int,
        now_ms: int,
        *,
        with_open: bool = True,
        fills: bool | None = None,
    ) -> list[Bar]:
        """Bars with open in [start, end) as they stand at `now_ms`, oldest first.

        `fills`: whether empty ones are there, as flat rows; as the exchange does it unless given.
        """
        fills = self.fills if fills is None else fills
        recorded = self.recorded.get(symbol)
        if recorded is not None:
            return recorded.rows(minutes, start_ms, end_ms, now_ms, with_open=with_open)
        if not self.listings[symbol].trading:
            return []
        market = self.market(symbol)
        step = minutes * MINUTE_MS
        listed_ms = market.plan.listed_ms
        if now_ms <= listed_ms or self.fate.is_gone(market.plan.symbol, listed_ms):
            return []
        # No row before the first trade: there is no price to fill with.
        born = market.first_trade_ms
        first = max(-(-start_ms // step) * step, born - born % step)
        closed = now_ms - now_ms % step
        count = (min(-(-end_ms // step) * step, closed) - first) // step
        rows = self._closed_rows(market, minutes, first, count, fills=fills) if count > 0 else []
        if with_open and first <= closed < end_ms:
            bar = self.bar_at(symbol, minutes, now_ms)
            if bar is not None and (fills or bar.trades):
                rows.append(bar)
        if not self.fate.events:
            return rows
        return self._fated(
            market, minutes, rows, (start_ms, end_ms, now_ms), with_open=with_open, fills=fills
        )

    def _fated(
        self,
        market: SymbolMarket,
        minutes: int,
        rows: list[Bar],
        times: tuple[int, int, int],
        *,
        with_open: bool,
        fills: bool,
    ) -> list[Bar]:
        """The grid's rows without those in downtime, and with those that stand off the grid instead."""
        start_ms, end_ms, now_ms = times
        symbol, step = market.plan.symbol, minutes * MINUTE_MS
        spans = self.fate.spans(step)
        if spans:
            first, last = spans[0].open_ms, spans[-1].end_ms
            rows = [row for row in rows if not first <= row.open_ms < last]
            for span in spans:
                is_asked = start_ms <= span.open_ms < end_ms and span.open_ms <= now_ms
                if is_asked and (with_open or span.end_ms <= now_ms):
                    bar = self.bar_at(symbol, minutes, min(span.end_ms - 1, now_ms))
                    if bar is not None and (fills or bar.trades):
                        rows.append(bar)
            rows.sort(key=lambda row: row.open_ms)
        return [
            row
            for row in rows
            if row.trades
            or not self.fate.is_void(symbol, row.open_ms, min(self.end_of(minutes, row.open_ms), now_ms))
        ]

    def _closed_rows(
        self, market: SymbolMarket, minutes: int, first_ms: int, count: int, *, fills: bool
    ) -> list[Bar]:
        bars = market.bars(minutes, first_ms, count)
        columns = [bars.open, bars.high, bars.low, bars.close, bars.lots, bars.quote, bars.trades]
        opens = first_ms + np.arange(count, dtype=np.int64) * (minutes * MINUTE_MS)
        if not bars.has.all():
            if not fills:
                kept = np.flatnonzero(bars.has)
                opens, columns = opens[kept], [column[kept] for column in columns]
            else:
                before = None if bars.has[0] else market.last_price(first_ms)
                newest = np.maximum.accumulate(np.where(bars.has, np.arange(count), -1))
                flat = np.where(newest >= 0, bars.close[newest], before or 0)
                columns[:4] = [np.where(bars.has, column, flat) for column in columns[:4]]
        return [Bar(*row) for row in zip(opens.tolist(), *(c.tolist() for c in columns), strict=True)]

    def bar_at(self, symbol: str, minutes: int, at_ms: int) -> Bar | None:
        """The bar that holds `at_ms` as it stands then; flat when it has no trade; None before any."""
        bar = self.traded_at(symbol, minutes, at_ms)
        if bar is not None or symbol in self.recorded:
            return bar
        open_ms = self.fate.span_of(minutes * MINUTE_MS, at_ms).open_ms
        price = self.market(symbol).last_price(open_ms)
        return None if price is None else Bar(open_ms, price, price, price, price, 0, 0, 0)

    def traded_at(self, symbol: str, minutes: int, at_ms: int) -> Bar | None:
        """The bar that holds `at_ms` as it stands then; None while it has no trade."""
        recorded = self.recorded.get(symbol)
        if recorded is not None:
            return recorded.bar_at(minutes, at_ms)
        if not self.fate.events:
            return self.market(symbol).bar_at(minutes, at_ms)
        return self.market(symbol).span_at(self.fate.span_of(minutes * MINUTE_MS, at_ms).open_ms, at_ms)

    def ended_at(self, symbol: str, minutes: int, boundary_ms: int) -> Bar | None:
        """The final bar that ended just then, if any did."""
        recorded = self.recorded.get(symbol)
        if recorded is not None:
            return recorded.ended_at(minutes, boundary_ms)
        # The bar that holds the last moment before: on the grid or off it, it ends now or later.
        span = self.fate.span_of(minutes * MINUTE_MS, boundary_ms - 1)
        if span.end_ms != boundary_ms:
            return None
        rows = self.rows(symbol, minutes, span.open_ms, span.open_ms + 1, boundary_ms, with_open=False)
        return rows[0] if rows else None

    def provisional(self, symbol: str, minutes: int, bar: Bar) -> Bar | None:
        """A closed bar as it is stated before it settles: without its last 15 s, or with half its volume.

        None for a bar of which nothing can be held back.
        """
        ends = self.end_of(minutes, bar.open_ms, symbol)
        early = self.traded_at(symbol, minutes, max(bar.open_ms, ends - _SETTLING_MS))
        if early is not None and early.trades < bar.trades:
            return early
        return replace(bar, lots=bar.lots // 2, quote=bar.quote // 2) if bar.lots > 1 else None

    def end_of(self, minutes: int, open_ms: int, symbol: str = "") -> int:
        """When the bar that opens then ends; recorded ones may end on their own."""
        if symbol in self.recorded:
            return self.recorded[symbol].end_of(minutes, open_ms)
        return self.fate.span_of(minutes * MINUTE_MS, open_ms).end_ms

    def _draw_day_bars(self, symbol: str, until_ms: int) -> list[Bar]:
        return self.rows(symbol, 30, until_ms - DAY_MS, until_ms, until_ms, with_open=False)

    def day(self, symbol: str, now_ms: int) -> Day:
        """The 24 hours up to `now_ms`, on the half-hour grid plus the open bar."""
        bar = self.bar_at(symbol, 30, now_ms) if now_ms > self.market(symbol).plan.listed_ms else None
        if bar is None:
            return Day([], 0)
        past = self._day_bars(symbol, now_ms - now_ms % (30 * MINUTE_MS))
        return Day([*past, bar], bar.close)

    def truth(self, symbol: str, minutes: int, start_ms: int, end_ms: int) -> list[dict[str, int | str]]:
        """The exchange's final candles: those closed by its clock now, in canonical text."""
        plan = self.market(symbol).plan
        places, lot_places = plan.price_decimals, plan.lot_decimals

        def price(ticks: int) -> str:
            return canonical(fixed(ticks, places, places))

        return [
            {
                "open_ms": bar.open_ms,
                "open": price(bar.open),
                "high": price(bar.high),
                "low": price(bar.low),
                "close": price(bar.close),
                "volume": canonical(fixed(bar.lots, lot_places, max(1, lot_places))),
                "trades": bar.trades,
            }
            for bar in self.rows(symbol, minutes, start_ms, end_ms, self.clock.now_ms(), with_open=False)
        ]
