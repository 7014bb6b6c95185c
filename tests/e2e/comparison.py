"""What is stored against what must be: candles against the simulator's truth, alerts against the oracle."""

from __future__ import annotations

from collections.abc import Sequence

from tests.e2e import oracle
from tests.e2e.platform_run import STEP_MS, Place, Truth

IDS = {"coinbase": 1, "binance": 2, "binance_us": 3}
_BINANCE = ("1m", "5m", "15m", "1h", "4h", "1d")
TIMEFRAMES = {"coinbase": _BINANCE[1:], "binance": _BINANCE, "binance_us": _BINANCE}
"""Those an exchange has live."""


def differences(
    place: Place, truth: Truth, exchange: str, symbols: Sequence[str], start: int, end: int
) -> list[str]:
    """Every candle that ends in (start, end] and is missing, extra or other than the exchange's."""
    found = []
    for symbol in symbols:
        for timeframe in TIMEFRAMES[exchange]:
            step = STEP_MS[timeframe]
            stored = place.candles(IDS[exchange], symbol, timeframe)
            wanted = truth.candles(exchange, symbol, timeframe, start - step, end)
            inside = {t for t in stored.keys() | wanted.keys() if start < t + step <= end}
            found += [
                f"{exchange} {symbol} {timeframe} {t}: stored {stored.get(t)}, truth {wanted.get(t)}"
                for t in sorted(inside)
                if stored.get(t) != wanted.get(t)
            ]
    return found


def expected_alerts(
    place: Place,
    truth: Truth,
    exchange: str,
    symbol: str,
    timeframe: str,
    start: int,
    end: int,
    *,
    stored_until: int = 0,
) -> set[tuple[int, str]]:
    """(open, label) of every alert whose candle ends in (start, end], by the oracle over the truth.

    `stored_until`: up to there the stored candles have been compared before and stand for the truth.
    """
    step = STEP_MS[timeframe]
    stored = place.candles(IDS[exchange], symbol, timeframe)
    if not stored:
        return set()
    first = min(stored)
    rows = {t: row for t, row in stored.items() if t + step <= stored_until}
    rows |= truth.candles(exchange, symbol, timeframe, max(first, stored_until - step), end)
    bars = [oracle.Bar(t, *(float(value) for value in row)) for t, row in sorted(rows.items())]
    # Whether the exchange has older bars matters only where a judged value may still be warming.
    settled = sum(bar.open_ms + step <= start and bar.volume > 0 for bar in bars) >= 200
    older = settled or bool(truth.candles(exchange, symbol, timeframe, first - 50 * step, first))
    before = place.query(
        "SELECT open_ms, label FROM alert_history WHERE exchange_id = %s AND symbol = %s AND timeframe = %s"
        " AND candle_end_ms <= %s AND withdrawn_ms IS NULL",
        IDS[exchange], symbol, timeframe, start,
    )  # fmt: skip
    raised = oracle.alerts(
        bars, step, start - step, end, whole_history=not older, before=[(t, label) for t, label in before]
    )
    return {(alert.open_ms, alert.label) for alert in raised}


def alert_differences(
    place: Place,
    truth: Truth,
    exchange: str,
    symbols: Sequence[str],
    start: int,
    end: int,
    *,
    stored_until: int = 0,
) -> list[str]:
    """Every series whose stored alerts of candles that end in (start, end] are not the oracle's."""
    found = []
    for symbol in symbols:
        for timeframe in TIMEFRAMES[exchange]:
            stored = place.query(
                "SELECT open_ms, label FROM alert_history WHERE exchange_id = %s AND symbol = %s"
                " AND timeframe = %s AND candle_end_ms > %s AND candle_end_ms <= %s"
                " AND withdrawn_ms IS NULL",
                IDS[exchange], symbol, timeframe, start, end,
            )  # fmt: skip
            wanted = expected_alerts(
                place, truth, exchange, symbol, timeframe, start, end, stored_until=stored_until
            )
            if set(stored) != wanted:
                found.append(
                    f"{exchange} {symbol} {timeframe}: extra {set(stored) - wanted},"
                    f" missing {wanted - set(stored)}"
                )
    return found
