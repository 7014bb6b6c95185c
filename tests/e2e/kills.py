"""What is killed, and what must be seen before it counts as recovered."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

from tests.e2e.platform_run import wait_for
from tests.e2e.under_fire import Fire

SEED = 23
AWAY_S = 8.0


def fresh(symbols: int) -> list[str]:
    """A market half an hour before midnight, both exchanges."""
    return [
        *("--seed", str(SEED), "--from", "2026-01-05T23:30:00Z", "--symbols", str(symbols)),
        *("--autostart", "coinbase", "--autostart", "binance"),
    ]


def ingest_child(fire: Fire, exchange: str = "binance") -> None:
    claim = fire.claim(exchange)
    assert claim is not None
    run_id = claim.status.run_id
    assert run_id is not None
    fire.kill(
        "ingest child",
        claim.status.pid,
        until=lambda: fire.replaced(exchange, run_id) and fire.ended(run_id),
    )


def ingest_parent(fire: Fire) -> None:
    held = {name: fire.claim(name) for name in fire.exchanges}
    ids = {name: str(claim.status.run_id) for name, claim in held.items() if claim is not None}
    assert len(ids) == len(fire.exchanges)
    fire.kill(
        "ingest parent",
        fire.pid_of("worker ingest"),
        until=lambda: all(fire.replaced(name, run_id) and fire.ended(run_id) for name, run_id in ids.items()),
    )


def boundary_worker(fire: Fire) -> None:
    """With the processes it works in: nobody is left to tell what became of the run."""
    parent = psutil.Process(fire.pid_of("worker boundary"))
    family = [parent.pid, *(child.pid for child in parent.children(recursive=True))]
    run_id = fire.boundary_run_under_way()
    begun = time.time()
    fire.kill(
        "boundary worker",
        *family,
        until=lambda: fire.boundary_run_succeeded_since(begun) and fire.ended(run_id),
    )


def server(fire: Fire, name: str) -> None:
    fire.kill(name, fire.pid_of(name))


def daemon(fire: Fire) -> None:
    begun = time.time()
    fire.kill("daemon", fire.pid_of("daemon"), until=lambda: fire.boundary_run_succeeded_since(begun))


def server_away(fire: Fire, name: str) -> None:
    """Stopped, not killed: the supervisor would start a dead one at once."""
    head = psutil.Process(fire.pid_of(name))
    family = [head, *head.children(recursive=True)]
    try:
        for process in family:
            with suppress(psutil.NoSuchProcess):  # PostgreSQL's own come and go
                process.suspend()
        until = time.monotonic() + AWAY_S
        wait_for(lambda: time.monotonic() > until, AWAY_S + 1, "")
    finally:
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.resume()
    fire.kill(f"{name} away for {AWAY_S:.0f} s")
