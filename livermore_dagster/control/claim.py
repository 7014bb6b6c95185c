"""The claim of one instance on one exchange: taken atomically, kept beating, never anyone else's (R7, N3).

Everything here is synchronous on purpose: the heartbeat has its own thread and its own connections, so that
a busy event loop can never starve it.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

import msgspec
import redis
import structlog

from livermore_dagster.clock import Clock, SystemClock
from livermore_dagster.control.network_log import EventKind, log_error, log_event, log_transition
from livermore_dagster.control.offline import note_back, tell_offline
from livermore_dagster.control.process import home_name, local_address, machine_id, process_start
from livermore_dagster.control.scripts import control_script
from livermore_dagster.control.standbys import read_standbys
from livermore_dagster.control.states import InstanceState, check_transition
from livermore_dagster.control.status import HEARTBEAT_S, TTL_MS, ClaimFacts, InstanceStatus, decode_status
from livermore_dagster.errors import ClaimConflict, ClaimLost, NobodyStandsBy
from livermore_dagster.market.moments import clock_text
from livermore_dagster.stores.redis import keys

__all__ = ["Claim", "read_claim"]

log = structlog.get_logger(__name__)

_RETRY_S = 1.0
_OWNED: Final[set[str]] = set()
"""Tokens this process holds now: a claim with its pid but another token is a dead instance's."""


def read_claim(client: redis.Redis, exchange_id: int) -> ClaimFacts | None:
    """The exchange's claim as it is now, None when nobody holds it."""
    with client.pipeline(transaction=True) as pipe:
        pipe.get(keys.status(exchange_id))
        pipe.pttl(keys.status(exchange_id))
        text, left_ms = pipe.execute()
    if text is None:
        return None
    status = decode_status(text)
    return ClaimFacts(status=status, left_ms=left_ms, gone=_is_dead(status))


def _is_dead(status: InstanceStatus) -> bool:
    own = status.machine_id == machine_id() and status.pid == os.getpid()
    if own and status.pid_start_time == process_start():
        return status.token not in _OWNED
    return status.holder_is_gone()


def _own_status(
    exchange: tuple[int, str], token: str, now_ms: int, admin: tuple[str, str], run_id: str | None
) -> InstanceStatus:
    """What this process tells of itself before it has done anything. `exchange`: its id and name."""
    return InstanceStatus(
        exchange_id=exchange[0],
        exchange_name=exchange[1],
        instance_id=f"{socket.gethostname()}-{os.getpid()}-{token[:8]}",
        connection_state=InstanceState.IDLE,
        hostname=socket.gethostname(),
        ip_address=local_address(),
        admin_email=admin[0],
        admin_display_name=admin[1],
        symbol_count=0,
        paused=False,
        connected_at=None,
        registered_at=now_ms,
        last_heartbeat=now_ms,
        last_state_change=now_ms,
        last_error=None,
        last_error_at=None,
        token=token,
        machine_id=machine_id(),
        pid=os.getpid(),
        pid_start_time=process_start(),
        run_id=run_id,
        home=home_name(),
    )


class Claim:
    """One instance's hold on one exchange. Thread-safe. Use: acquire, start_heartbeat, …, release.

    `on_lost` is called once, from whichever thread notices, when the claim is no longer this instance's own:
    another took it, it expired, or it could not be refreshed in time.
    """

    def __init__(
        self,
        client: redis.Redis,
        exchange_id: int,
        exchange_name: str,
        *,
        run_id: str | None = None,
        admin: tuple[str, str] = ("", ""),
        token: str | None = None,
        clock: Clock | None = None,
        ttl_ms: int = TTL_MS,
        heartbeat_s: float = HEARTBEAT_S,
        on_lost: Callable[[ClaimLost], None] | None = None,
    ) -> None:
        """`admin` is e-mail and display name of who started it; `token` of a standby that got the claim."""
        self._redis = client
        self._clock = clock or SystemClock()
        self._ttl_ms = ttl_ms
        self._heartbeat_s = heartbeat_s
        self._on_lost = on_lost
        self._lock = threading.RLock()
        self._halt = threading.Event()
        self._thread: threading.Thread | None = None
        self._lost: ClaimLost | None = None
        self._held = False
        self._refreshed = 0.0
        self._successor = ""
        self._status = _own_status(
            (exchange_id, exchange_name), token or secrets.token_hex(16), self._clock.now_ms(), admin, run_id
        )

    @property
    def status(self) -> InstanceStatus:
        """A copy of the facts as last written."""
        with self._lock:
            return msgspec.structs.replace(self._status)

    @property
    def state(self) -> InstanceState:
        return self._status.connection_state

    @property
    def lost(self) -> ClaimLost | None:
        return self._lost

    # --- taking and giving back ---------------------------------------------------------------------------
    def acquire(self, patience_s: float = 0.0) -> None:
        """Takes the claim, or raises ClaimConflict naming its holder.

        A dead holder of this machine is succeeded at once. For another whose heartbeat is overdue it waits
        up to `patience_s` for the claim to expire.
        """
        deadline = self._clock.monotonic() + patience_s
        while not self._try_acquire():
            facts = read_claim(self._redis, self._status.exchange_id)
            if facts is None:
                continue
            waiting = facts.late and self._clock.monotonic() + facts.left_ms / 1000 <= deadline
            if not waiting or self._halt.wait(min(1.0, facts.left_ms / 1000 + 0.02)):
                raise self._conflict(facts)
        if self._halt.is_set():
            self.release()
            raise ClaimLost(f"{self._status.exchange_name}: the claim was given up before it was used.")

    def give_up(self) -> None:
        """Who waits in `acquire` is told the conflict at once, and has no claim afterwards."""
        self._halt.set()

    def _try_acquire(self) -> bool:
        with self._lock:
            status, key = self._status, keys.status(self._status.exchange_id)
            now = self._clock.now_ms()
            status.registered_at = status.last_heartbeat = now
            before = self._clock.monotonic()
            known = self._redis.get(keys.last_status(status.exchange_id))
            taken = bool(self._redis.set(key, status.encode(), nx=True, px=self._ttl_ms))
            if not taken:
                facts = read_claim(self._redis, status.exchange_id)
                if facts is None:
                    return False
                if facts.status.token == status.token:  # taken, or passed on, while it stood by
                    known = None
                    taken = self._eval("write_status", status.token, status.encode(), self._ttl_ms) == 1
                elif facts.gone:
                    taken = self._eval("take_over", facts.status.token, status.encode(), self._ttl_ms) == 1
            if taken:
                self._held, self._refreshed = True, before
                _OWNED.add(status.token)
                if known is not None:
                    self._tell_succession(decode_status(str(known)), now)
            return taken

    def _tell_succession(self, last: InstanceStatus, now: int) -> None:
        """That this one follows an instance that ended without a word."""
        if last.token == self._status.token or not last.left_without_a_word:
            return
        tell_offline(self._redis, last, now)
        gone_s = max(0, now - last.last_heartbeat) / 1000
        words = f"{self._status.place} holds it now, {gone_s:.0f} s after {last.place} was last heard of."
        log_event(self._redis, self._status, EventKind.TAKEN_OVER, now, words)
        log.warning("claim_taken_over", exchange=last.exchange_name, pid=last.pid, hostname=last.hostname)

    def appoint_successor(self) -> InstanceStatus:
        """When it is released the claim passes to the standby that waits longest, in one step; who that is.

        Raises NobodyStandsBy. Should that standby be gone by then, the claim is free as ever.
        """
        waiting = [one for one in read_standbys(self._redis, self._status.exchange_id) if not one.gone]
        if not waiting:
            raise NobodyStandsBy(self._status.exchange_name)
        self._successor = waiting[0].status.token
        return waiting[0].status

    def release(self) -> None:
        """Ends the heartbeat and gives the claim back if it is still its own. Never raises ClaimLost."""
        self._halt.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)
        with self._lock:
            if self._held:
                self._held = False
                try:
                    self._give_back()
                finally:
                    _OWNED.discard(self._status.token)

    def _give_back(self) -> None:
        status, now = self._status, self._clock.now_ms()
        status.ended_at = now
        heir = keys.standby(status.exchange_id, self._successor) if self._successor else ""
        if self._eval("release_claim", status.token, status.encode(), self._ttl_ms, also=heir) == 2:
            facts = read_claim(self._redis, status.exchange_id)
            place = facts.status.place if facts is not None else "its standby"
            words = f"{status.place} handed it over to {place}."
            log_event(self._redis, status, EventKind.HANDED_OVER, now, words)

    # --- telling ------------------------------------------------------------------------------------------
    def advance(self, new: InstanceState, message: str = "") -> None:
        """Goes to state `new` (N2), tells it in the status and the network log. Raises ClaimLost."""
        with self._lock:
            old = self._status.connection_state
            check_transition(old, new)
            now = self._clock.now_ms()
            self._change(connection_state=new, last_state_change=now)
            log_transition(self._redis, self._status, old.value, now, message)
            if new is InstanceState.ACTIVE:
                note_back(self._redis, self._status, now)

    def record_error(self, message: str) -> None:
        """Raises ClaimLost."""
        with self._lock:
            now = self._clock.now_ms()
            self._change(last_error=message, last_error_at=now)
            log_error(self._redis, self._status, now, message)

    def update(self, **facts: Any) -> None:
        """Changes public facts (symbol_count, paused, connected_at, ip_address …). Raises ClaimLost."""
        with self._lock:
            self._change(**facts)

    def beat(self) -> None:
        """One heartbeat: renews the TTL. Raises ClaimLost."""
        with self._lock:
            before = self._clock.monotonic()
            self._status.last_heartbeat = self._clock.now_ms()
            self._write(str(self._ttl_ms))
            self._refreshed = before

    def _change(self, **facts: Any) -> None:
        changed = msgspec.structs.replace(self._status, **facts)
        self._status = changed
        self._write("")

    def _write(self, ttl: str) -> None:
        if self._lost is not None:
            raise self._lost
        if not self._held:
            raise ClaimLost(f"{self._status.exchange_name}: no claim is held.")
        answer = self._eval("write_status", self._status.token, self._status.encode(), ttl)
        if answer != 1:
            raise self._lose("it expired" if answer == 0 else "another instance holds it now")

    def _eval(self, script: str, *arguments: str | int, also: str | None = None) -> int:
        """`also`: a third key the script touches."""
        names = [keys.status(self._status.exchange_id), keys.last_status(self._status.exchange_id)]
        if also is not None:
            names.append(also)
        answer: Any = self._redis.eval(control_script(script), len(names), *names, *map(str, arguments))
        return int(answer)

    def _lose(self, why: str) -> ClaimLost:
        self._held = False
        _OWNED.discard(self._status.token)
        lost = self._lost = ClaimLost(f"The claim on {self._status.exchange_name} is lost: {why}.")
        log.error("claim_lost", exchange=self._status.exchange_name, reason=lost.message)
        if self._on_lost is not None:
            self._on_lost(lost)
        return lost

    # --- heartbeat ----------------------------------------------------------------------------------------
    def start_heartbeat(self) -> None:
        self._thread = threading.Thread(
            target=self._beat_on, name=f"heartbeat-{self._status.exchange_name}", daemon=True
        )
        self._thread.start()

    def _beat_on(self) -> None:
        pause = self._heartbeat_s
        while not self._halt.wait(pause):
            pause = self._heartbeat_s
            try:
                self.beat()
            except ClaimLost:
                return
            except redis.RedisError as error:
                # Beyond the TTL another may hold it: then this instance must not go on, heard or not.
                if self._clock.monotonic() - self._refreshed > self._ttl_ms / 1000:
                    with self._lock:
                        self._lose(f"Redis could not be reached in time ({type(error).__name__})")
                    return
                pause = _RETRY_S

    def _conflict(self, facts: ClaimFacts) -> ClaimConflict:
        holder = facts.status
        return ClaimConflict(
            f"{holder.exchange_name} is held by {holder.hostname} ({holder.ip_address}, pid {holder.pid}) "
            f"since {clock_text(holder.registered_at)}.",
            f"Its claim runs out in {max(0, facts.left_ms) / 1000:.0f} s unless it is refreshed.",
        )
