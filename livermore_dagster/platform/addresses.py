"""Free loopback ports, and the simulator's doors as it printed them."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from livermore_dagster.market.exchange import ExchangeRow

__all__ = ["Doors", "free_port_range", "read_doors", "rows_for_simulation"]

FIRST_PORT = 20_000
LAST_PORT = 32_000  # below the range from which systems give out client ports


@dataclass(frozen=True)
class Doors:
    """One simulated exchange's addresses."""

    rest_url: str
    ws_url: str
    control_url: str


def free_port_range(count: int) -> int:
    """First of `count` neighbouring loopback ports that can all be bound now.

    Each process looks from a place of its own: two platforms starting together shall not find the same.
    """
    ranges = (LAST_PORT - FIRST_PORT) // count
    for turn in range(ranges):
        base = FIRST_PORT + (os.getpid() + turn) % ranges * count
        if all(_free(port) for port in range(base, base + count)):
            return base
    raise OSError(f"no {count} neighbouring free ports between {FIRST_PORT} and {LAST_PORT}")


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def read_doors(path: Path) -> dict[str, Doors]:
    """What `livermore simulate --json` printed, empty until it is whole."""
    try:
        found = json.loads(path.read_text())["exchanges"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}
    return {
        name: Doors(door["rest_url"], door["ws_url"], door["control_url"]) for name, door in found.items()
    }


def rows_for_simulation(rows: tuple[ExchangeRow, ...], doors: dict[str, Doors]) -> tuple[ExchangeRow, ...]:
    """The rows with the simulator's addresses. What it does not play is inactive: no real exchange is met."""
    return tuple(
        replace(row, rest_url=doors[row.name].rest_url, ws_url=doors[row.name].ws_url)
        if row.name in doors
        else replace(row, active=False)
        for row in rows
    )
