"""Machines on this one: network namespaces on a bridge, each with process ids and a hostname of its own.

What is a machine of its own cannot see whether another's process lives, and can be cut off the network.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

__all__ = ["Machine", "machines"]

_NEEDS = (
    "This test makes network namespaces: it needs root, iproute2 and util-linux. "
    "Without them deselect it: pytest -m 'soak and not netns'."
)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}\n{_NEEDS}"


@dataclass(frozen=True)
class Machine:
    """`cable`: the bridge's end of it."""

    name: str
    namespace: str
    cable: str
    address: str

    @property
    def command(self) -> list[str]:
        """What a command is run by to run on it; when that is killed the command dies too."""
        return [
            "ip", "netns", "exec", self.namespace,
            "unshare", "--uts", "--pid", "--mount-proc", "--fork", "--kill-child",
            "sh", "-c", 'hostname "$0" && exec "$@"', self.name,
        ]  # fmt: skip

    def unplug(self) -> None:
        _ip("link", "set", self.cable, "down")

    def plug_in(self) -> None:
        _ip("link", "set", self.cable, "up")


@contextmanager
def machines(names: Sequence[str]) -> Iterator[tuple[str, dict[str, Machine]]]:
    """Address of this host on their network, and the machines by name."""
    number = os.getpid() % 100_000
    net, bridge = f"10.203.{number % 256}", f"lvbr{number}"
    with ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("address", "add", f"{net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        made: dict[str, Machine] = {}
        for place, name in enumerate(names, start=2):
            one = Machine(name, f"lv{number}{name}", f"lv{number}{name}", f"{net}.{place}")
            _ip("netns", "add", one.namespace)
            stack.callback(_ip, "netns", "del", one.namespace)
            _ip("link", "add", one.cable, "type", "veth", "peer", "name", "eth0", "netns", one.namespace)
            _ip("link", "set", one.cable, "master", bridge)
            one.plug_in()
            for words in (
                ("link", "set", "lo", "up"),
                ("address", "add", f"{one.address}/24", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
            ):
                _ip("-netns", one.namespace, *words)
            made[name] = one
        yield f"{net}.1", made
