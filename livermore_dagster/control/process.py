"""Who this process is, and whether another one of the same machine is still there (N3)."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import uuid
from functools import cache
from pathlib import Path

import psutil

__all__ = ["home_name", "local_address", "machine_id", "process_is_gone", "process_start"]


@cache
def machine_id() -> str:
    """Names the place in which process ids mean the same: machine, boot and process namespace.

    Containers share the machine's id and often the host's boot, but not its process ids, so the namespace
    is part of it; a reboot frees all ids, so the boot is too.
    """
    parts = [_text("/etc/machine-id") or f"{uuid.getnode():x}", _text("/proc/sys/kernel/random/boot_id")]
    if sys.platform == "linux":
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def process_start(pid: int | None = None) -> str:
    """When process `pid` (default: this one) started, as text to compare; '' when there is none.

    A zombie counts as gone. On Linux it is ticks since boot, which a step of the clock does not move.
    """
    number = os.getpid() if pid is None else pid
    if sys.platform == "linux":
        stat = _stat(number)
        if not stat:
            return ""
        fields = stat.rpartition(")")[2].split()  # the name before ')' may hold blanks
        return "" if fields[0] in ("Z", "X") else fields[19]
    try:
        return f"{psutil.Process(number).create_time():.2f}"
    except psutil.NoSuchProcess:
        return ""


def process_is_gone(machine: str, pid: int, started: str) -> bool:
    """True only when it is certain: same machine, and no process of that id and start."""
    if machine != machine_id() or process_start(pid) == started:
        return False
    # Another user's process may be hidden (/proc mounted with hidepid): then only the id can be asked for.
    hidden = sys.platform == "linux" and not _stat(pid)
    return not (hidden and _is_taken(pid))


def _stat(pid: int) -> str:
    """'' where there is no such process, or none that may be seen."""
    return _text(f"/proc/{pid}/stat")


def _is_taken(pid: int) -> bool:
    """Whether a process has this id, be it one that may not be signalled."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def home_name(home: Path | None = None) -> str:
    """Names a platform, 'host:/path/of/home': `home`, or the one this process belongs to, '' for none."""
    path = str(home) if home is not None else os.environ.get("LIVERMORE_HOME", "")
    return f"{socket.gethostname()}:{path}" if path else ""


def local_address() -> str:
    """This host's own address towards the outside, any of its own where nothing leads there, '127.0.0.1' when
    it has none. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1: a datagram socket only looks up the route
            return str(probe.getsockname()[0])
        except OSError:
            pass
    known = (one for some in psutil.net_if_addrs().values() for one in some if one.family is socket.AF_INET)
    return next((one.address for one in known if not one.address.startswith("127.")), "127.0.0.1")


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
