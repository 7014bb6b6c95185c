"""Whether a process is certainly gone: on that rests who may take a claim over before it runs out (R7)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from livermore_dagster.control import process
from livermore_dagster.control.process import machine_id, process_is_gone, process_start

NOBODY = 2**22 + 1
"""No process has an id above Linux's largest pid_max."""


def test_only_the_same_start_on_the_same_machine_is_the_same_process() -> None:
    own, started = os.getpid(), process_start()
    assert not process_is_gone(machine_id(), own, started)
    assert process_is_gone(machine_id(), own, "an earlier start")
    assert process_is_gone(machine_id(), NOBODY, started)
    assert not process_is_gone("another machine", NOBODY, started)


def test_a_zombie_is_gone() -> None:
    ended = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    started = process_start(ended.pid)
    assert not process_is_gone(machine_id(), ended.pid, started)
    ended.kill()
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert process_is_gone(machine_id(), ended.pid, started)
    ended.communicate()


def test_a_process_that_may_not_be_seen_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user's under hidepid=2."""
    started = process_start()
    monkeypatch.setattr(process, "_stat", lambda pid: "")
    assert not process_is_gone(machine_id(), os.getpid(), started)
    assert not process_is_gone(machine_id(), 1, started)
    assert process_is_gone(machine_id(), NOBODY, started)
