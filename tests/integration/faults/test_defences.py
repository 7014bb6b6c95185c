"""Negative controls: without its defence a fault is no longer survived, or no longer told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from livermore_dagster.exchanges import caller
from livermore_dagster.exchanges.coinbase_stream import CoinbaseDecoder
from livermore_dagster.exchanges.subscriptions import AckTracker
from livermore_dagster.ingest.repair import RepairQueue
from livermore_dagster.ingest.stream_side import StreamSide
from livermore_dagster.ingest.subscribing import Subscriptions
from livermore_dagster.ingest.timekeeper import TimeKeeper
from livermore_dagster.ingest.watchdog import Watchdog
from livermore_dagster.market.closing import Closer
from livermore_dagster.market.closing_state import Series, Stalls
from livermore_dagster.market.closing_types import Effects, Reason
from tests.conftest import database
from tests.integration.faults.playing import play
from tests.integration.faults.scenarios import scenario_named
from tests.integration.faults.stage import BRISK, staged

pytestmark = pytest.mark.soak

PATIENCE_S = 20.0
"""With the defence everything has come long before."""

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Control:
    """`without` takes a defence out; `exchange` then fails `scenario`."""

    name: str
    scenario: str
    exchange: str
    without: Patch


async def _nothing(*_: object) -> None:
    return None


async def _quiet(*_: object) -> str:
    return ""


def _unasked(patched: pytest.MonkeyPatch) -> None:
    """Silence is taken for absence."""
    ask = Closer._ask

    def only_doubtful(
        self: Closer, series: Series, doubts: list[tuple[int, Reason]], effects: Effects
    ) -> None:
        ask(self, series, [one for one in doubts if one[1] is not Reason.SILENT], effects)

    patched.setattr(Closer, "_ask", only_doubtful)


def _unbudgeted(patched: pytest.MonkeyPatch) -> None:
    """Refusals close no budget, and others' weight is not counted."""
    from livermore_dagster.exchanges import budget
    from tests.no_budget import NoBudget

    patched.setattr(budget.RateBudget, "take", NoBudget.take)
    patched.setattr(budget.RateBudget, "feedback", NoBudget.feedback)


def _without_beats(patched: pytest.MonkeyPatch) -> None:
    begin = Watchdog.__init__

    def deaf(self: Watchdog, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        self._beats = None

    patched.setattr(Watchdog, "__init__", deaf)


CONTROLS = [
    Control(
        "stall is absence", "stall", "coinbase",
        lambda p: p.setattr(Stalls, "_find", lambda *_: frozenset()),
    ),
    Control("no watchdog", "silence", "binance", lambda p: p.setattr(Watchdog, "_judge", _quiet)),
    Control("silence is absence", "dead_subscription", "binance", _unasked),
    Control(
        "deaf symbols stay deaf", "dead_subscription", "coinbase",
        lambda p: p.setattr(Subscriptions, "renew", lambda *_: None),
    ),
    Control(
        "nobody waits for acknowledgements", "refused_subscription", "coinbase",
        lambda p: p.setattr(AckTracker, "overdue", lambda *_: ([], [])),
    ),
    Control(
        "a break is no doubt", "lost_close", "coinbase",
        lambda p: p.setattr(Closer, "on_break", lambda *_: Effects()),
    ),
    Control(
        "no flag is waited for", "lost_close", "binance",
        lambda p: p.setattr(Closer, "_judge_flagged", lambda self, *_: self._now_ms + 1_000),
    ),
    Control(
        "numbers are not read", "lost_frames", "coinbase",
        lambda p: p.setattr(CoinbaseDecoder, "_gap", lambda *_: []),
    ),
    Control(
        "closed is closed", "revised", "binance",
        lambda p: p.setattr(Closer, "_maybe_revise", lambda *_: None),
    ),
    Control(
        "REST is asked once", "rest_behind", "binance",
        lambda p: p.setattr(RepairQueue, "_add", _only_first(RepairQueue._add)),
    ),
    Control("no budget", "foreign_weight", "binance_us", _unbudgeted),
    Control(
        "no renewal", "announced_shutdown", "binance",
        lambda p: p.setattr(StreamSide, "_renew", lambda *_: None),
    ),
    Control(
        "no page is too old", "rest_behind", "binance",
        lambda p: p.setattr(caller, "_OLDEST_S", 10**9),
    ),
    Control("heartbeats are not missed", "unheard_heartbeats", "coinbase", _without_beats),
    Control("a refusal closes no budget", "rate_limit", "binance", _unbudgeted),
    Control("a ban closes no budget", "ban", "coinbase", _unbudgeted),
    Control(
        "times are not compared", "rest_time_ahead", "binance",
        lambda p: p.setattr(TimeKeeper, "skew", _nothing),
    ),
]  # fmt: skip


def _only_first(add: Callable[..., None]) -> Callable[..., None]:
    def once(self: RepairQueue, job: object, wait_s: float) -> None:
        if not getattr(job, "attempt", 0):
            add(self, job, wait_s)

    return once


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name.replace(" ", "_"))
def test_without_it_the_fault_is_not_survived(valkey_url: str, postgres_url: str, control: Control) -> None:
    scenario = scenario_named(control.scenario, control.exchange)
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    with (
        database(postgres_url) as url,
        staged(valkey_url, url, control.exchange, pace=BRISK, without=control.without) as stage,
    ):
        found = play(stage, [[scenario]], marks_s=PATIENCE_S, truth_s=PATIENCE_S)
    assert found.of(scenario) != []
