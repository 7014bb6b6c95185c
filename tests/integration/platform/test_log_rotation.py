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

_ROTATES_WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from livermore_dagster.platform.log_rotation import rotate_logs
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
for _ in range(4):
    assert rotate_logs(Path(sys.argv[1]), limit_bytes=500) == []
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


def test_where_there_is_no_room_all_parts_stay_as_they_are(tmp_path: Path) -> None:
    held = {"daemon.log": "now " * 200, **{f"daemon.log.{part}": f"part {part}" for part in (1, 2, 3)}}
    for name, text in held.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-c", _ROTATES_WITHOUT_ROOM, str(tmp_path)]
    assert b"log_not_rotated" in subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == held
    assert rotate_logs(tmp_path, limit_bytes=500) == [tmp_path / "daemon.log"]
    assert (tmp_path / "daemon.log.1").read_text() == held["daemon.log"]
