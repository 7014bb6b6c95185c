"""The write rule once more, naively: what Lua and SQL are held against."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st

from livermore_dagster.market.candle import Candle, Origin, Rank, StampedCandle
from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis.candle_cache import WriteResult

SERIES = (("BTCUSDT", Timeframe.M1), ("BTCUSDT", Timeframe.M5), ('ODD "\\\tÉ', Timeframe.M1))
T0 = 1_767_225_600_000
PRICES = ("0.00001", "1", "1.5", "67123.45")
VOLUMES = ("0", "9", "10", "123.00000001")


def candles(ranks: tuple[Rank, ...] = tuple(Rank)) -> st.SearchStrategy[StampedCandle]:
    """Few distinct opens, stamps and values, so that they collide in every way."""

    def build(
        series: tuple[str, Timeframe], bar: int, price: str, volume: str, rank: Rank, stamp: int, trades: int,
        origin: Origin,
    ) -> StampedCandle:  # fmt: skip
        symbol, timeframe = series
        open_ms = T0 + bar * timeframe.ms
        # Some of these are no sane candle (a high below the open): they are kept as they are all the same.
        candle = Candle(open_ms, "1", price, "0.5", price, volume)
        return StampedCandle(symbol, timeframe, candle, rank, open_ms + stamp, origin, trades, 7)

    return st.builds(
        build,
        st.sampled_from(SERIES),
        st.integers(0, 5),
        st.sampled_from(PRICES),
        st.sampled_from(VOLUMES),
        st.sampled_from(ranks),
        st.sampled_from((-5, 0, 1, 60_001)),
        st.sampled_from((-1, 0, 9, 10)),
        st.sampled_from(tuple(Origin)),
    )


def standing(stamped: StampedCandle) -> tuple[int, int, int, Decimal]:
    """Greater wins."""
    return stamped.rank.value, stamped.stamp_ms, stamped.trades, Decimal(stamped.candle.volume)


class Model:
    """Series as dicts by open; closes as a list."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.series: dict[tuple[str, Timeframe], dict[int, StampedCandle]] = {}
        self.closes: list[tuple[StampedCandle, bool]] = []

    def write(self, new: StampedCandle) -> WriteResult:
        held = self.series.setdefault((new.symbol, new.timeframe), {})
        old = held.get(new.candle.open_ms)
        if old is None:
            return self._insert(held, new)
        if new.rank < old.rank:
            return WriteResult.REFUSED
        same = new.candle == old.candle
        if new.rank == old.rank and standing(new) <= standing(old):
            return WriteResult.UNCHANGED if same and standing(new) == standing(old) else WriteResult.REFUSED
        held[new.candle.open_ms] = new
        if old.rank is Rank.OPEN and new.rank is not Rank.OPEN:
            self.closes.append((new, False))
            return WriteResult.UPDATED
        if same:
            return WriteResult.UNCHANGED
        if new.rank is Rank.OPEN:
            return WriteResult.UPDATED
        self.closes.append((new, True))
        return WriteResult.REVISED

    def _insert(self, held: dict[int, StampedCandle], new: StampedCandle) -> WriteResult:
        if len(held) >= self.size:
            oldest = min(held)
            if new.candle.open_ms < oldest:
                return WriteResult.OLDER
            del held[oldest]
        held[new.candle.open_ms] = new
        if new.rank is not Rank.OPEN:
            self.closes.append((new, False))
        return WriteResult.INSERTED

    def content(self, symbol: str, timeframe: Timeframe) -> list[StampedCandle]:
        held = self.series.get((symbol, timeframe), {})
        return [held[open_ms] for open_ms in sorted(held)]
