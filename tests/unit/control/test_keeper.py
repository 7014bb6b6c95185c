"""The keeper's decision: desired state decides, life is judged by the claim, starts back off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livermore_dagster.control.keeper import (
    MAX_BACKOFF_MS,
    START_GRACE_MS,
    Backoff,
    CancelRun,
    Nothing,
    RunFacts,
    RunPhase,
    StartRun,
    StopRun,
    decide,
)
from livermore_dagster.control.standbys import StandbyFacts
from livermore_dagster.control.states import InstanceState
from livermore_dagster.control.status import TTL_MS, ClaimFacts, InstanceStatus

NOW = 10_000_000


def claim(
    run_id: str | None = "r1", left_ms: int = TTL_MS, gone: bool = False, since: int = NOW
) -> ClaimFacts:
    status = InstanceStatus(
        exchange_id=2,
        exchange_name="binance",
        instance_id="i",
        connection_state=InstanceState.ACTIVE,
        hostname="h",
        ip_address="10.0.0.1",
        admin_email="",
        admin_display_name="",
        symbol_count=1,
        paused=False,
        connected_at=None,
        registered_at=since,
        last_heartbeat=NOW,
        last_state_change=since,
        last_error=None,
        last_error_at=None,
        token="t",  # noqa: S106 (an instance token, not a secret)
        machine_id="m",
        pid=1,
        pid_start_time="1",
        run_id=run_id,
    )
    return ClaimFacts(status=status, left_ms=left_ms, gone=gone)


def started(age_ms: int, run_id: str = "r1") -> RunFacts:
    return RunFacts(run_id, RunPhase.STARTED, NOW - age_ms)


def test_nothing_desired_nothing_done() -> None:
    assert decide("binance", False, None, [], Backoff(), NOW).actions == [
        Nothing("binance shall not run, and does not.")
    ]


def test_starts_what_shall_run() -> None:
    decision = decide("binance", True, None, [], Backoff(), NOW)
    assert [type(a) for a in decision.actions] == [StartRun]
    assert decision.backoff == Backoff(1, NOW + 1_000)


def test_a_live_claim_is_left_alone_whatever_the_runs_say() -> None:
    for runs in ([], [started(10**6)], [RunFacts("r1", RunPhase.CANCELING, 0)]):
        assert isinstance(decide("binance", True, claim(), runs, Backoff(), NOW).actions[0], Nothing)


def test_a_started_run_without_claim_gets_its_grace_then_is_replaced() -> None:
    young = decide("binance", True, None, [started(START_GRACE_MS - 1)], Backoff(), NOW)
    assert isinstance(young.actions[0], Nothing)
    old = decide("binance", True, None, [started(START_GRACE_MS)], Backoff(), NOW)
    assert [type(a) for a in old.actions] == [CancelRun, StartRun]


def test_a_holder_whose_process_is_gone_is_no_life() -> None:
    decision = decide("binance", True, claim(gone=True), [started(10**6)], Backoff(), NOW)
    assert [type(a) for a in decision.actions] == [CancelRun, StartRun]


def test_back_off_doubles_to_a_minute_and_is_forgiven_by_a_stable_claim() -> None:
    backoff, now = Backoff(), NOW
    waits = []
    for _ in range(9):
        decision = decide("binance", True, None, [], backoff, now)
        assert isinstance(decision.actions[-1], StartRun)
        waits.append(decision.backoff.not_before_ms - now)
        backoff = decision.backoff
        assert isinstance(decide("binance", True, None, [], backoff, now + waits[-1] - 1).actions[0], Nothing)
        now += waits[-1]
    assert waits == [
        1_000,
        2_000,
        4_000,
        8_000,
        16_000,
        32_000,
        MAX_BACKOFF_MS,
        MAX_BACKOFF_MS,
        MAX_BACKOFF_MS,
    ]
    assert decide("binance", True, claim(since=now), [], backoff, now).backoff == backoff
    assert decide("binance", True, claim(since=now - 60_000), [], backoff, now).backoff == Backoff()
    assert Backoff.from_dict(backoff.to_dict()) == backoff


def test_stops_what_shall_not_run() -> None:
    queued = RunFacts("q", RunPhase.QUEUED, NOW)
    assert [type(a) for a in decide("b", False, None, [queued], Backoff(), NOW).actions] == [StopRun]
    lingering = decide("b", False, claim(since=NOW - 60_000), [started(60_000)], Backoff(), NOW)
    assert [type(a) for a in lingering.actions] == [StopRun]
    dead = decide("b", False, None, [started(60_000)], Backoff(), NOW)
    assert [type(a) for a in dead.actions] == [CancelRun]


@given(
    running=st.booleans(),
    held=st.none() | st.builds(claim, left_ms=st.integers(1, TTL_MS), gone=st.booleans()),
    runs=st.lists(
        st.builds(
            RunFacts,
            run_id=st.sampled_from(["r1", "r2", "r3"]),
            phase=st.sampled_from(RunPhase),
            since_ms=st.integers(NOW - 200_000, NOW),
        ),
        max_size=3,
    ),
    backoff=st.builds(Backoff, st.integers(0, 20), st.integers(0, 2 * NOW)),
)
def test_never_two_instances_and_always_words(running, held, runs, backoff) -> None:
    decision = decide("binance", running, held, runs, backoff, NOW)
    assert decision.actions
    assert all(action.words for action in decision.actions)
    starts = [a for a in decision.actions if isinstance(a, StartRun)]
    if starts:
        assert running
        assert len(starts) == 1
        assert held is None or not held.live
        cancelled = {a.run_id for a in decision.actions if isinstance(a, CancelRun)}
        assert {run.run_id for run in runs} <= cancelled
    if held is not None and held.live and running:
        assert held.status.run_id not in {
            a.run_id for a in decision.actions if isinstance(a, CancelRun | StopRun)
        }


def test_a_standby_takes_the_exchange_so_nothing_is_started() -> None:
    dead = claim(gone=True)
    waiting = StandbyFacts(dead.status, TTL_MS, gone=False)
    decision = decide("binance", True, dead, [started(START_GRACE_MS)], Backoff(), NOW, waiting)
    assert [type(action) for action in decision.actions] == [CancelRun, Nothing]
    assert "standby on h" in decision.actions[1].words
    assert decision.backoff == Backoff()
    held = decide("binance", True, claim(), [], Backoff(), NOW, waiting)
    assert isinstance(held.actions[0], Nothing)
