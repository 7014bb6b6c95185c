"""Logs of running processes stay bounded, and no line is torn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from livermore_dagster.platform.log_rotation import rotate_logs

_WRITER = """
import logging, sys
from pathlib import Path
from livermore_dagster.platform.logging import configure, get_logger
configure(Path(sys.argv[1]), "runs")
log = get_logger("livermore_dagster.writer")
for line in sys.stdin:
    log.info(line.strip() * 100)
    print("done", flush=True)
"""


def test_a_log_is_cut_while_it_is_written_and_three_parts_are_kept(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        for number in range(6):
            for writer in writers:
                assert writer.stdin is not None
                assert writer.stdout is not None
                writer.stdin.write(f"<{number}>\n")
                writer.stdin.flush()
                assert writer.stdout.readline() == "done\n"
            assert rotate_logs(logs, limit_bytes=500) == [logs / "runs.jsonl"]
    finally:
        for writer in writers:
            writer.communicate()
    assert (logs / "runs.jsonl").read_bytes() == b""
    parts = [f"runs.jsonl.{number}" for number in (1, 2, 3)]
    assert sorted(path.name for path in logs.iterdir()) == ["runs.jsonl", *parts]
    for part, number in ((1, 5), (2, 4), (3, 3)):
        lines = (logs / f"runs.jsonl.{part}").read_text().splitlines()
        assert len(lines) == 2
        assert all(line.startswith("{") and f"<{number}>" in line for line in lines)


def test_what_is_small_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "daemon.log").write_text("words")
    assert rotate_logs(tmp_path, limit_bytes=500) == []
    assert (tmp_path / "daemon.log").read_text() == "words"
