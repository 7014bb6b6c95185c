"""A start on the same home after a pause: what closed meanwhile is there, and nothing is asked twice."""

from __future__ import annotations

import httpx
import pytest

from livermore_dagster.platform.watch import MarketTime
from tests.e2e import kills
from tests.e2e.platform_run import STARTED_S, STEP_MS, wait_for
from tests.e2e.under_fire import Aftermath, on_fire

pytestmark = pytest.mark.xdist_group("fire")

STARTED = ("coinbase", "binance")
"""The third rests idle, and asks for nothing."""
PAUSE_MS = 20 * 60_000
"""Market time: 20 real seconds, longer than from one boundary to the next."""


def test_a_pause_is_made_good_without_asking_for_what_is_stored(burnt: Aftermath) -> None:
    market = MarketTime(burnt.home / "market.json")
    begun = burnt.stopped_ms + PAUSE_MS
    wait_for(lambda: market.now_ms() >= begun, 60, "market time does not run on")
    # No exchange is named: what ran goes on.
    with on_fire(burnt.home, "--seed", str(kills.SEED)) as fire:
        # A machine too slow to end them in time leaves them to the next start.
        for run_id in burnt.cut_off:
            wait_for(lambda run_id=run_id: fire.ended(run_id), STARTED_S, f"run {run_id} never ends")
        fire.settle()
        end = fire.window.to_ms
        assert end is not None
        assert end > begun
        assert burnt.wrong == []
        assert fire.wrong(burnt.window[0], end, stored_until=burnt.window[0]) == []
        meanwhile = fire.place.query(
            "SELECT id, symbol, timeframe, label, candle_end_ms, late FROM alert_history"
            " WHERE candle_end_ms > %s AND candle_end_ms <= %s",
            burnt.stopped_ms, begun,
        )  # fmt: skip
        assert meanwhile, "twenty minutes without an alert show nothing"
        assert [row for row in meanwhile if not row[-1] and row[2] in ("1m", "5m")] == []
        asked = requests_of(fire.running.status())
    assert set(asked) == set(STARTED)
    whole = {"symbol": "BTCUSDT", "timeframe": "5m", "start_ms": burnt.window[0], "end_ms": burnt.window[1]}
    assert burnt.coverage.holds("binance", whole)
    again = [
        f"{exchange} {request}"
        for exchange, requests in asked.items()
        for request in requests
        if burnt.coverage.holds(exchange, request)
        and not audits(request, burnt.audited[exchange].get(request["timeframe"]))
    ]
    assert again == []


def audits(request: dict, audited: int | None) -> bool:
    """Whether it compares with the exchange once an hour, which reads what is stored on purpose: the last
    hour or bar, and before it what no audit has compared since the pause began. An hour that was not
    `audited` (open of the newest candle that was) when the platform ended is made up first."""
    step, hour = STEP_MS[request["timeframe"]], STEP_MS["1h"]
    asked_end = -(-request["end_ms"] // step) * step
    newest = request["at_ms"] // hour * hour
    owed = [] if audited is None else [at for at in range(newest, audited, -hour) if at - step > audited]
    for boundary in (newest, request["at_ms"] // STEP_MS["15m"] * STEP_MS["15m"], *owed):
        end = boundary // step * step - step
        start = (end - max(step, hour)) // step * step
        if asked_end == end and start - 2 * hour <= request["start_ms"] <= start:
            return True
    return False


def requests_of(status: dict) -> dict[str, list[dict]]:
    """Every candle request of this start, as the simulated exchanges of the platform heard them."""
    found: dict[str, list[dict]] = {}
    for exchange in STARTED:
        door = status["simulator"][exchange]["control_url"]
        reply = httpx.get(f"{door}/requests", timeout=60).raise_for_status().json()
        assert reply["total"] == len(reply["requests"]) > 0
        found[exchange] = reply["requests"]
    return found
