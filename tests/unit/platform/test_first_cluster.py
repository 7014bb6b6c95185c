"""PostgreSQL's cluster is made once, at a home's first start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from livermore_dagster.errors import PlatformError
from livermore_dagster.platform.embedded import EmbeddedPostgres


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddedPostgres:
    monkeypatch.setattr(EmbeddedPostgres, "os_user", None)
    return EmbeddedPostgres(tmp_path / "data", tmp_path / "sockets", bin=tmp_path)


def initdb(server: EmbeddedPostgres, script: str) -> None:
    (server.bin / "initdb").write_text(f"#!/bin/sh\n{script}\n")
    (server.bin / "initdb").chmod(0o755)


def test_a_ctrl_c_does_not_reach_what_makes_the_cluster(server: EmbeddedPostgres) -> None:
    initdb(server, 'mkdir "$2" && cut -d" " -f5 /proc/$$/stat > "$2/group"')
    server._init()
    assert int((server.data / "group").read_text()) != os.getpgrp()


def test_a_failure_is_told_by_its_last_lines(server: EmbeddedPostgres) -> None:
    initdb(server, 'for n in 1 2 3 4 5; do echo "SELECT $n" >&2; done; echo "disk full" >&2; exit 1')
    with pytest.raises(PlatformError, match=r"SELECT 5 disk full$") as failed:
        server._init()
    assert "SELECT 3" not in str(failed.value)
