"""`livermore macdv`: rows in, rows out, and what a bad file is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from livermore_dagster.cli.app import main
from livermore_dagster.cli.macdv_command import FIELDS

HEADER = "open_time,open,high,low,close,volume"


def write(folder: Path, *lines: str) -> str:
    file = folder / "candles.csv"
    file.write_text("\n".join(lines) + "\n")
    return str(file)


@pytest.mark.parametrize(("name", "unit"), [("open_time", 1), ("open_time_s", 1), ("open_time_ms", 1000)])
def test_one_row_comes_out_for_each_row_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, unit: int
) -> None:
    rows = [f"{(1_700_000_100 + i * 300) * unit},2,3,1,{2 + i % 3 / 10},{i % 4}" for i in range(80)]
    with pytest.raises(SystemExit) as ended:
        main(["macdv", write(tmp_path, HEADER.replace("open_time", name), *rows), "-t", "5m", "--json"])
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 80
    assert tuple(found[0]) == FIELDS
    assert found[0]["open_time_ms"] == 1_700_000_100_000
    assert found[0]["reason"] == "Low trading activity"
    assert found[-1]["macdv"] is not None


def test_a_timeframe_that_is_not_the_files_is_refused_with_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # One candle is missing: a gap is no other timeframe.
    rows = [f"{1_700_000_100 + i * 300},2,3,1,2,5" for i in (0, 1, 2, 4, 5)]
    for timeframe, code in (("1h", 2), ("5m", 0)):
        with pytest.raises(SystemExit) as ended:
            main(["macdv", write(tmp_path, HEADER, *rows), "-t", timeframe])
        assert ended.value.code == code
    told = " ".join(capsys.readouterr().err.split())
    assert "open 300 s apart, and those of 1h 3,600 s" in told


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["open_time,open,high,low,close", "1,2,3,1,2"], "line 1: no column volume"),
        ([HEADER, "600,2,3,1,2,5", "300,2,3,1,2,5"], "line 3: open time 300 goes back"),
        ([HEADER, "600,2,3,1,2,5", "600,2,3,1,2,5"], "line 3: open time 600 comes twice"),
        ([HEADER, "600,2,3,1,nan,5"], "line 2: close is 'nan'"),
        ([HEADER, "600,2,3,1,-2,5"], "line 2: close is '-2'"),
        ([HEADER, "600,2,3,1,x,5"], "line 2: close is 'x'"),
        ([HEADER, "600,2,3"], "line 2: 3 fields"),
        ([HEADER, "600,2,1,3,2,5"], "low 3 is above high 1"),
        ([HEADER], "has no candles"),
    ],
)
def test_a_bad_file_is_told_by_line_and_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: list[str], told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["macdv", write(tmp_path, *lines), "-t", "5m"])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_an_unknown_timeframe_names_what_exists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["macdv", write(tmp_path, HEADER, "600,2,3,1,2,5"), "-t", "7m"])
    assert ended.value.code == 2
    assert "1m, 5m, 15m" in capsys.readouterr().err
