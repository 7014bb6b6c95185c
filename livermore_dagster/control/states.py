"""States of an exchange's instance and the only ways between them (N2)."""

from __future__ import annotations

from enum import StrEnum

from livermore_dagster.errors import LivermoreError

__all__ = ["IllegalTransition", "InstanceState", "check_transition"]


class InstanceState(StrEnum):
    IDLE = "idle"
    STARTING = "starting"
    WARMING = "warming"
    """Candles are being warmed up; frames already flow."""
    ACTIVE = "active"
    STOPPING = "stopping"
    STOPPED = "stopped"


_NEXT: dict[InstanceState, frozenset[InstanceState]] = {
    InstanceState.IDLE: frozenset({InstanceState.STARTING}),
    InstanceState.STARTING: frozenset({InstanceState.WARMING, InstanceState.STOPPING, InstanceState.IDLE}),
    InstanceState.WARMING: frozenset({InstanceState.ACTIVE, InstanceState.STOPPING, InstanceState.IDLE}),
    InstanceState.ACTIVE: frozenset({InstanceState.STOPPING}),
    InstanceState.STOPPING: frozenset({InstanceState.STOPPED}),
    InstanceState.STOPPED: frozenset({InstanceState.IDLE}),
}


class IllegalTransition(LivermoreError):
    def __init__(self, old: InstanceState, new: InstanceState) -> None:
        allowed = ", ".join(sorted(_NEXT[old]))
        super().__init__(
            f"An instance cannot go from {old} to {new}.", f"From {old} it may go to: {allowed}."
        )


def check_transition(old: InstanceState, new: InstanceState) -> None:
    """Raises IllegalTransition unless N2 allows going from `old` to `new`."""
    if new not in _NEXT[old]:
        raise IllegalTransition(old, new)
