"""The main promise: what the exchanges closed is what is stored, and what was stored alerted, once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.e2e import oracle
from tests.e2e.platform_run import STEP_MS, Place, Truth, to_ms, truth_of

SEED = 11
START = "2026-01-05T23:30:00Z"
IDS = {"coinbase": 1, "binance": 2}
TIMEFRAMES = {"coinbase": ("5m", "15m", "1h", "4h", "1d"), "binance": ("1m", "5m", "15m", "1h", "4h", "1d")}


@pytest.fixture
def place(tmp_path: Path, redis_url: str, database_url: str) -> Place:
    return Place(tmp_path / "home", redis_url, database_url)


def differences(
    place: Place, truth: Truth, exchange: str, symbols: list[str], start: int, end: int
) -> list[str]:
    """Every candle of [start, end) that is missing, extra or other than the exchange's."""
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
    place: Place, truth: Truth, exchange: str, symbol: str, timeframe: str, start: int, end: int
) -> set[tuple[int, str]]:
    step = STEP_MS[timeframe]
    stored = place.candles(IDS[exchange], symbol, timeframe)
    if not stored:
        return set()
    first = min(stored)
    wanted = truth.candles(exchange, symbol, timeframe, first, end)
    older = truth.candles(exchange, symbol, timeframe, first - 50 * step, first)
    bars = [oracle.Bar(t, *(float(value) for value in row)) for t, row in sorted(wanted.items())]
    before = place.query(
        "SELECT open_ms, label FROM alert_history WHERE exchange_id = %s AND symbol = %s AND timeframe = %s"
        " AND candle_end_ms <= %s",
        IDS[exchange], symbol, timeframe, start,
    )  # fmt: skip
    raised = oracle.alerts(
        bars, step, start - step, end, whole_history=not older, before=[(t, label) for t, label in before]
    )
    return {(alert.open_ms, alert.label) for alert in raised}


def test_the_spine_keeps_its_promise(place: Place) -> None:
    report = place.up(
        "--simulate", "--autostart", "coinbase", "--autostart", "binance", "--speed", "60",
        "--symbols", "20", "--from", START, "--seed", str(SEED), "--for", "150",
        timeout=300,
    )  # fmt: skip
    start, end = to_ms(report["window"]["from"]), to_ms(report["window"]["to"])
    assert end - start >= 60 * 60_000, report["window"]
    assert report["errors"] == []
    assert report["runs"]["failed"] == 0
    assert report["runs"]["succeeded"] > 0
    wrong: list[str] = []
    alerts_wrong: list[str] = []
    with truth_of(list(IDS), SEED, place.home / "market.json") as truth:
        for exchange, exchange_id in IDS.items():
            facts = report["exchanges"][exchange]
            assert facts["http_429"] == 0
            assert len(facts["symbols"]) == 20
            kinds = Counter(truth.symbols(exchange)[symbol] for symbol in facts["symbols"])
            assert kinds["sparse"] >= 4, kinds
            assert kinds["listed"] == 1, kinds
            assert kinds["silent"] == 1, kinds
            wrong += differences(place, truth, exchange, facts["symbols"], start, end)
            for symbol in facts["symbols"]:
                for timeframe in TIMEFRAMES[exchange]:
                    stored = place.query(
                        "SELECT open_ms, label FROM alert_history WHERE exchange_id = %s AND symbol = %s"
                        " AND timeframe = %s AND candle_end_ms > %s AND candle_end_ms <= %s"
                        " AND withdrawn_ms IS NULL",
                        exchange_id, symbol, timeframe, start, end,
                    )  # fmt: skip
                    wanted = expected_alerts(place, truth, exchange, symbol, timeframe, start, end)
                    if set(stored) != wanted:
                        alerts_wrong.append(
                            f"{exchange} {symbol} {timeframe}: extra {set(stored) - wanted},"
                            f" missing {wanted - set(stored)}"
                        )
    assert wrong == []
    assert alerts_wrong == []
    assert report["alerts"]["stored"] > 0
    assert report["alerts"]["published"] == report["alerts"]["stored"]
