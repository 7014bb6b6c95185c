"""What to do about an exchange's instance: a pure decision from desired state, claim and runs.

The desired state decides; life is judged by the claim, never by a run's status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from livermore_dagster.control.standbys import StandbyFacts
from livermore_dagster.control.status import ClaimFacts

__all__ = [
    "Action",
    "Backoff",
    "CancelRun",
    "Decision",
    "Nothing",
    "RunFacts",
    "RunPhase",
    "StartRun",
    "StopRun",
    "decide",
]

START_GRACE_MS: Final = 20_000
"""A started run has this long to hold the claim."""
QUEUE_GRACE_MS: Final = 90_000
"""A queued run has this long to be picked up; run monitoring ends what the broker lost sooner."""
STOP_GRACE_MS: Final = 10_000
"""An instance that shall stop does so by itself; after this long its run is stopped from outside."""
STABLE_MS: Final = 60_000
"""A claim held this long forgives earlier failures."""
MAX_BACKOFF_MS: Final = 60_000


class RunPhase(StrEnum):
    QUEUED = "queued"
    """Not started, queued or starting."""
    STARTED = "started"
    CANCELING = "canceling"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """An unfinished ingest run of the exchange. `since_ms`: wall-clock ms at which it entered `phase`."""

    run_id: str
    phase: RunPhase
    since_ms: int


@dataclass(frozen=True, slots=True)
class Backoff:
    """Starts since the last stable claim, and the wall-clock ms before which no other is tried."""

    starts: int = 0
    not_before_ms: int = 0

    def after_start(self, now_ms: int) -> Backoff:
        """1, 2, 4 … 60 s between starts."""
        return Backoff(self.starts + 1, now_ms + min(MAX_BACKOFF_MS, 1_000 << min(self.starts, 6)))

    def to_dict(self) -> dict[str, int]:
        return {"starts": self.starts, "not_before_ms": self.not_before_ms}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Backoff:
        return cls(int(data.get("starts", 0)), int(data.get("not_before_ms", 0)))


@dataclass(frozen=True, slots=True)
class Action:
    """`words` say why, for a person."""

    words: str


@dataclass(frozen=True, slots=True)
class StartRun(Action):
    """Launch a new ingest run. `attempt` counts starts since the last stable claim."""

    attempt: int


@dataclass(frozen=True, slots=True)
class CancelRun(Action):
    """The run has no life behind it: report it canceled (there is nothing to terminate)."""

    run_id: str


@dataclass(frozen=True, slots=True)
class StopRun(Action):
    """The run lives and shall not: terminate it."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Nothing(Action):
    pass


@dataclass(frozen=True, slots=True)
class Decision:
    """Actions in the order to take them (never empty), and the back-off to remember."""

    actions: list[Action] = field(default_factory=list)
    backoff: Backoff = Backoff()


def decide(
    exchange: str,
    running: bool,
    claim: ClaimFacts | None,
    runs: Sequence[RunFacts],
    backoff: Backoff,
    now_ms: int,
    standby: StandbyFacts | None = None,
) -> Decision:
    """What to do now about `exchange`.

    `running`: an instance shall be there, idle or not (no desired state at all: it shall not). `claim` is
    `control.claim.read_claim`, `runs` the exchange's unfinished ingest runs, `now_ms` wall-clock epoch ms.
    `standby`: the one that waits longest and lives; it takes a free exchange by itself, so none is started.
    """
    live = claim if claim is not None and claim.live else None
    if not running:
        return Decision(_stop(exchange, live, runs, now_ms), Backoff())
    if live is not None:
        stable = now_ms - live.status.registered_at >= STABLE_MS
        actions = [a for run in runs if (a := _superfluous(exchange, live, run, now_ms))]
        where = f"{live.status.hostname}, pid {live.status.pid}"
        words = f"{exchange}: {live.status.connection_state} on {where}."
        return Decision(actions or [Nothing(words)], Backoff() if stable else backoff)
    return _start(exchange, runs, backoff, now_ms, standby)


def _start(
    exchange: str,
    runs: Sequence[RunFacts],
    backoff: Backoff,
    now_ms: int,
    standby: StandbyFacts | None,
) -> Decision:
    actions: list[Action] = []
    for run in runs:
        age_ms = now_ms - run.since_ms
        grace_ms = QUEUE_GRACE_MS if run.phase is RunPhase.QUEUED else START_GRACE_MS
        if age_ms < grace_ms:
            verb = "has no claim yet" if run.phase is RunPhase.STARTED else f"is {run.phase.value}"
            return Decision([*actions, Nothing(f"{exchange}: run {run.run_id} {verb}.")], backoff)
        words = (
            f"{exchange}: run {run.run_id} is {run.phase.value} for {age_ms // 1000} s without a live claim."
        )
        actions.append(CancelRun(words, run.run_id))
    if standby is not None:
        words = f"{exchange}: its standby on {standby.status.place} takes it over."
        return Decision([*actions, Nothing(words)], backoff)
    if now_ms < backoff.not_before_ms:
        wait_s = (backoff.not_before_ms - now_ms) / 1000
        words = f"{exchange}: start {backoff.starts + 1} waits another {wait_s:.0f} s."
        return Decision([*actions, Nothing(words)], backoff)
    attempt = backoff.starts + 1
    actions.append(StartRun(f"{exchange} shall run and nothing holds its claim: start {attempt}.", attempt))
    return Decision(actions, backoff.after_start(now_ms))


def _superfluous(exchange: str, live: ClaimFacts, run: RunFacts, now_ms: int) -> Action | None:
    """A started run beside the one that holds the claim ends itself by ClaimConflict; else it is stuck."""
    if run.run_id == live.status.run_id or now_ms - run.since_ms < QUEUE_GRACE_MS:
        return None
    return CancelRun(f"{exchange}: run {run.run_id} is not the one that holds the claim.", run.run_id)


def _stop(exchange: str, live: ClaimFacts | None, runs: Sequence[RunFacts], now_ms: int) -> list[Action]:
    actions: list[Action] = []
    for run in runs:
        age_ms = now_ms - run.since_ms
        if run.phase is RunPhase.QUEUED:
            actions.append(StopRun(f"{exchange} shall not run: run {run.run_id} is called off.", run.run_id))
        elif live is None and age_ms >= START_GRACE_MS:
            words = f"{exchange} shall not run: run {run.run_id} has no live claim."
            actions.append(CancelRun(words, run.run_id))
        elif run.phase is RunPhase.STARTED and live is not None and _overstays(live, now_ms):
            actions.append(StopRun(f"{exchange} shall not run: run {run.run_id} goes on.", run.run_id))
    if actions:
        return actions
    if live is not None:
        return [Nothing(f"{exchange} shall not run: its instance is {live.status.connection_state}.")]
    return [Nothing(f"{exchange} shall not run, and does not.")]


def _overstays(live: ClaimFacts, now_ms: int) -> bool:
    """Whether nothing has changed for so long that the instance is not stopping by itself."""
    return now_ms - live.status.last_state_change >= STOP_GRACE_MS
