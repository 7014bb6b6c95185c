"""The claim and public facts of one instance, as its status key holds them (N1)."""

from __future__ import annotations

import msgspec

from livermore_dagster.control.process import process_is_gone
from livermore_dagster.control.states import InstanceState

__all__ = ["HEARTBEAT_S", "TTL_MS", "ClaimFacts", "InstanceStatus", "decode_status", "living_status"]

TTL_MS = 45_000
HEARTBEAT_S = 15.0
_LATE_BEAT_MS = 20_000
"""A holder whose last beat is older than this has missed one: it is probably dead."""


class InstanceStatus(msgspec.Struct, rename="camel", kw_only=True):
    """Times are wall-clock epoch ms; None where it has not happened."""

    exchange_id: int
    exchange_name: str
    instance_id: str
    connection_state: InstanceState
    hostname: str
    ip_address: str
    admin_email: str
    admin_display_name: str
    symbol_count: int
    paused: bool
    connected_at: int | None
    registered_at: int
    last_heartbeat: int
    last_state_change: int
    last_error: str | None
    last_error_at: int | None
    token: str
    machine_id: str
    pid: int
    pid_start_time: str
    run_id: str | None
    """Dagster run that hosts the instance; None when it was started without Dagster."""
    connections: int = 0
    """Connections the symbols are spread over."""
    connections_up: int = 0
    breaker_open: bool = False
    """Connecting has failed five times in a row; it goes on, slowly."""
    best_effort: int = 0
    """Symbols, the lowest ranks, that the exchange's request limit does not let be fetched in time (R11)."""

    mode: str = "scalper-macdv"
    """What it monitors: 'scalper-macdv' all that was chosen, 'position-monitor' only what is held (C5)."""
    command: str = ""
    """Commands under way, with who sent them; '' for none."""

    clock_ahead_ms: int | None = None
    """Exchange's time less this machine's, once it is known; by it the machine's clock is judged."""

    home: str = ""
    """Which platform it belongs to: `control.process.home_name`. Two homes on one host are two."""
    ended_at: int | None = None
    """When it gave its claim back; None in what is last known of one that ended without a word."""

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()

    @property
    def place(self) -> str:
        """For people: 'host, pid 12, home /srv/livermore'."""
        where = f", home {self.home.partition(':')[2]}" if self.home else ""
        return f"{self.hostname}, pid {self.pid}{where}"

    @property
    def left_without_a_word(self) -> bool:
        """Of a last known status whose claim is no more: it neither stopped nor gave its claim back."""
        return self.ended_at is None and self.connection_state is not InstanceState.STOPPED

    @property
    def running(self) -> bool:
        """Whether it has symbols to watch, paused or not. An idle one holds its claim all the same."""
        return self.connection_state not in (InstanceState.IDLE, InstanceState.STOPPED)

    @property
    def flowing(self) -> bool:
        """Whether what it told of the market is of now: what is settled, boundaries, values of each close."""
        return self.connection_state is InstanceState.ACTIVE and not self.paused

    def holder_is_gone(self) -> bool:
        """Certain death only: the holder ran on this machine and its process is no more."""
        return process_is_gone(self.machine_id, self.pid, self.pid_start_time)


def decode_status(text: str | bytes) -> InstanceStatus:
    return msgspec.json.decode(text, type=InstanceStatus)


def living_status(text: str | bytes | None) -> InstanceStatus | None:
    """Of what stands in the status key; None where nobody holds the claim, or its holder is certainly dead.

    That there is one says only that it is registered: ask it whether it is `running`, or `flowing`.
    """
    status = decode_status(text) if text else None
    return status if status is not None and not status.holder_is_gone() else None


class ClaimFacts(msgspec.Struct, frozen=True):
    """A claim as the keeper and status screens judge it."""

    status: InstanceStatus
    left_ms: int
    """Until it expires."""
    gone: bool
    """Its process, on this machine, is certainly dead."""

    @property
    def live(self) -> bool:
        return not self.gone and self.left_ms > 0

    @property
    def late(self) -> bool:
        """The last heartbeat is overdue. Judged by the TTL, so no two clocks are compared."""
        return TTL_MS - self.left_ms > _LATE_BEAT_MS
