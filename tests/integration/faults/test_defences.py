"""Negative controls: without its defence a fault is no longer survived, or no longer told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import redis

from livermore_dagster.errors import ExchangeUnavailable
from livermore_dagster.exchanges import caller
from livermore_dagster.exchanges.backoff import Backoff
from livermore_dagster.exchanges.coinbase_stream import CoinbaseDecoder
from livermore_dagster.exchanges.subscriptions import AckTracker
from livermore_dagster.ingest.repair import RepairQueue
from livermore_dagster.ingest.stream_side import StreamSide
from livermore_dagster.ingest.subscribing import Subscriptions
from livermore_dagster.ingest.timekeeper import TimeKeeper
from livermore_dagster.ingest.watchdog import Watchdog
from livermore_dagster.market import closing, closing_rest
from livermore_dagster.market.closing import Closer
from livermore_dagster.market.closing_clock import ClockLook
from livermore_dagster.market.closing_state import Held, Series, Stalls
from livermore_dagster.market.closing_types import Effects, Frame, Reason
from tests.conftest import database
from tests.integration.faults import playing
from tests.integration.faults.playing import play
from tests.integration.faults.scenarios import BINANCES, EXCHANGES, Scenario, scenario_named
from tests.integration.faults.stage import BRISK, Order, staged

pytestmark = pytest.mark.soak

PATIENCE_S = 20.0
"""With the defence everything has come long before."""

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Control:
    """`without` takes a defence out; each of `exchanges` then fails `scenario`, as `harder` makes it."""

    name: str
    scenario: str
    exchanges: tuple[str, ...]
    without: Patch
    harder: Callable[[Scenario], Scenario] = lambda scenario: scenario


async def _nothing(*_: object) -> None:
    return None


async def _quiet(*_: object) -> str:
    return ""


async def _failed(*_: object) -> None:
    """And asked for again at once."""
    raise ExchangeUnavailable("refused")


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


def _unwatched(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(Watchdog, "_judge", _quiet)
    patched.setattr(Stalls, "_find", lambda *_: frozenset())
    patched.setattr(Closer, "on_clock", _without_stalls(Closer.on_clock))


def _without_stalls(on_clock: Callable[[Closer, int], Effects]) -> Callable[[Closer, int], Effects]:
    def unseeing(self: Closer, exchange_ms: int) -> Effects:
        effects = on_clock(self, exchange_ms)
        effects.stalled.clear()
        return effects

    return unseeing


def _deaf(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(Subscriptions, "renew", lambda *_: None)


def _unacknowledged(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(AckTracker, "overdue", lambda *_: ([], []))


def _disconnected(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(Backoff, "delay", lambda *_, **__: 3_600.0)


def _unordered(patched: pytest.MonkeyPatch) -> None:
    """Whatever comes last counts."""
    patched.setattr(Held, "is_older_than", lambda *_: True)
    patched.setattr(Closer, "_maybe_revise", lambda *_: None)


def _gridded(patched: pytest.MonkeyPatch) -> None:
    """Frames that open off the grid are dropped."""
    on_frames = Closer.on_frames

    def only_gridded(self: Closer, frames: Iterable[Frame], connection: str) -> Effects:
        kept = [one for one in frames if one.candle.open_ms % one.timeframe.ms == 0]
        return on_frames(self, kept, connection)

    patched.setattr(Closer, "on_frames", only_gridded)


def _asked_much(scenario: Scenario) -> Scenario:
    """So that somebody asks while it lasts."""
    more: Order = {"kind": "lose_close", "count": 40}
    return replace(scenario, orders=lambda stage: [*scenario.orders(stage), more])


CONTROLS = [
    Control(
        "stall is absence", "stall", ("coinbase",),
        lambda p: p.setattr(Stalls, "_find", lambda *_: frozenset()),
    ),
    Control("nobody looks whether it flows", "stall", BINANCES, _unwatched),
    Control("no watchdog", "silence", EXCHANGES, lambda p: p.setattr(Watchdog, "_judge", _quiet)),
    Control("silence is absence", "dead_subscription", EXCHANGES, _unasked),
    Control("deaf symbols stay deaf", "dead_subscription", EXCHANGES, _deaf),
    Control("deaf symbols stay deaf", "unheard_refusal", BINANCES, _deaf),
    Control("nobody waits for acknowledgements", "refused_subscription", ("coinbase",), _unacknowledged),
    Control("nobody waits for acknowledgements", "partial_subscription", EXCHANGES, _unacknowledged),
    Control(
        "what a break left is not asked for", "reconnect_gap", EXCHANGES,
        lambda p: p.setattr(RepairQueue, "put", lambda *_: None),
    ),
    Control("nobody connects anew", "rate_cut", EXCHANGES, _disconnected),
    Control("nobody connects anew", "unannounced_end", EXCHANGES, _disconnected),
    Control("what comes again is new", "repeated_frames", EXCHANGES, _unordered),
    Control(
        "a break is no doubt", "lost_close", ("coinbase",),
        lambda p: p.setattr(Closer, "on_break", lambda *_: Effects()),
    ),
    Control(
        "no flag is waited for", "lost_close", BINANCES,
        lambda p: p.setattr(ClockLook, "judge_flagged", lambda self, *_: self.now_ms + 1_000),
    ),
    Control(
        "numbers are not read", "lost_frames", ("coinbase",),
        lambda p: p.setattr(CoinbaseDecoder, "_gap", lambda *_: []),
    ),
    Control(
        "closed is closed", "revised", EXCHANGES,
        lambda p: p.setattr(Closer, "_maybe_revise", lambda *_: None),
    ),
    Control(
        "nobody audits", "rest_revised", EXCHANGES,
        lambda p: p.setattr(playing, "matches_exchange", _nothing),
    ),
    Control(
        "REST is asked once", "rest_behind", ("coinbase",),
        lambda p: p.setattr(RepairQueue, "_add", _only_first(RepairQueue._add)),
        # Binance's rows are there by the time it asks: it waits a second and a half for the flag.
        lambda one: replace(one, counters={"repair_retries": 1}),
    ),
    Control(
        "no page is too old", "rest_behind", EXCHANGES,
        lambda p: p.setattr(caller, "_OLDEST_S", 10**9),
    ),
    Control(
        "no row is absent", "swapped_fillers", EXCHANGES,
        lambda p: p.setattr(closing_rest, "_is_absent", lambda *_: False),
    ),
    Control("broken replies are final", "rest_broken", EXCHANGES, lambda p: p.setattr(caller, "ATTEMPTS", 1)),
    Control(
        "a refusal is a failure like others", "rate_limit", EXCHANGES,
        lambda p: p.setattr(caller.RestCaller, "_refused_for_rate", _failed),
    ),
    Control("a ban closes no budget", "ban", EXCHANGES, _unbudgeted, _asked_much),
    Control("no budget", "foreign_weight", EXCHANGES, _unbudgeted),
    Control(
        "no renewal", "announced_shutdown", BINANCES,
        lambda p: p.setattr(StreamSide, "_renew", lambda *_: None),
    ),
    Control(
        "times are not compared", "rest_time_ahead", EXCHANGES,
        lambda p: p.setattr(TimeKeeper, "skew", _nothing),
    ),
    Control(
        "time may step back", "stream_time_steps", EXCHANGES,
        lambda p: p.setattr(closing, "BACK_MS", 10**12),
    ),
    Control("off the grid is nothing", "outage", EXCHANGES, _gridded),
    Control("heartbeats are not missed", "unheard_heartbeats", ("coinbase",), _without_beats),
]  # fmt: skip
CASES = [
    pytest.param(control, exchange, id=f"{exchange}-{control.scenario}-{control.name.replace(' ', '_')}")
    for control in CONTROLS
    for exchange in control.exchanges
]


def _only_first(add: Callable[..., None]) -> Callable[..., None]:
    def once(self: RepairQueue, job: object, wait_s: float) -> None:
        if not getattr(job, "attempt", 0):
            add(self, job, wait_s)

    return once


@pytest.mark.parametrize(("control", "exchange"), CASES)
def test_without_it_the_fault_is_not_survived(
    valkey_url: str, postgres_url: str, control: Control, exchange: str
) -> None:
    scenario = control.harder(scenario_named(control.scenario, exchange))
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    with (
        database(postgres_url) as url,
        staged(valkey_url, url, exchange, pace=BRISK, without=control.without) as stage,
    ):
        found = play(stage, [[scenario]], marks_s=PATIENCE_S, truth_s=PATIENCE_S)
    told = found.of(scenario)
    print(f"{exchange} {control.scenario} without: {control.name}: {told}")  # noqa: T201
    assert told != []
