"""Settings, options of `up`, and the root of the command line."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from livermore_dagster.cli.app import COMMANDS
from livermore_dagster.control.process import process_start
from livermore_dagster.errors import BadSetting, InactiveExchange, NotRunning, UnknownExchange
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.platform.addresses import Doors, rows_for_simulation
from livermore_dagster.platform.config import Settings, check_provenance
from livermore_dagster.platform.options import (
    checked_exchanges,
    outside_server,
    parse_from,
    parse_symbols,
    seed_of_home,
)
from livermore_dagster.platform.report import Window
from livermore_dagster.platform.status import without_password
from livermore_dagster.stores.redis.client import connect, connect_async
from livermore_dagster.stores.redis.desired import SymbolChoice

VALUES = {
    "LIVERMORE_HOME": "/h",
    "LIVERMORE_REDIS_URL": "unix:///h/s",
    "LIVERMORE_DATABASE_URL": "postgresql://u@/d?host=/h",
    "LIVERMORE_PROVENANCE": "sim:7",
}


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://:pw@h:6379/0", "redis://@h:6379/0"),
        ("rediss://ana:pw@h/0?ssl_cert_reqs=none", "rediss://ana@h/0?ssl_cert_reqs=none"),
        ("redis://h:6379/0?password=pw", "redis://h:6379/0"),
        ("redis://h:6379/0?password=pw&db=1", "redis://h:6379/0?db=1"),
        ("redis://h?password=p@w", "redis://h"),
        ("unix://ana:pw@/h/s?db=1", "unix://ana@/h/s?db=1"),
        ("unix:///h/s", "unix:///h/s"),
        ("postgresql://ana:p?w@h/d", "postgresql://ana@h/d"),
        ("postgresql://u@/d?host=/h", "postgresql://u@/d?host=/h"),
        ("host=h user=ana password='p w' dbname=d", "user=ana dbname=d host=h"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, shown: str) -> None:
    assert without_password(address) == shown


@pytest.mark.parametrize("address", ["redis://:hun/ter2@h:6379", "redis://:hunter2@h:6379x", "hunter2"])
def test_an_address_that_cannot_be_read_is_not_repeated(address: str) -> None:
    """`int("hun")` and urllib quote what they could not read."""
    for open_client in (connect, connect_async):
        with pytest.raises(BadSetting, match="cannot be read") as told:
            open_client(address)
        assert "hun" not in f"{told.value} {told.value.advice}"
        assert "redis://:password@host" in told.value.advice


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LIVERMORE_")]:
        monkeypatch.delenv(name)


def write_record(home: Path, **more: object) -> None:
    (home / "run").mkdir(parents=True)
    facts = {
        "pid": os.getpid(), "started": process_start(), "redis_url": "unix:///h/s",
        "database_url": "postgresql://u@/d?host=/h", "provenance": "live", "database_ca": None, **more,
    }  # fmt: skip
    (home / "run" / "platform.json").write_text(json.dumps(facts))


def test_settings_go_through_the_environment_and_back() -> None:
    settings = Settings.from_environment(VALUES)
    assert Settings.from_environment(settings.environment()) == settings
    assert settings.simulated
    assert settings.environment()["DAGSTER_HOME"] == "/h/dagster"


@pytest.mark.parametrize("name", VALUES)
def test_a_missing_setting_is_named(name: str) -> None:
    with pytest.raises(BadSetting, match=name):
        Settings.from_environment({**VALUES, name: ""})


@pytest.mark.parametrize("stamp", ["", "sim:", "simulated", "LIVE"])
def test_no_other_provenance(stamp: str) -> None:
    with pytest.raises(BadSetting):
        check_provenance(stamp)


def test_a_running_platform_is_found_by_its_home(tmp_path: Path) -> None:
    write_record(tmp_path)
    assert Settings.discover(tmp_path).redis_url == "unix:///h/s"


def test_a_record_whose_writer_is_gone_is_no_platform(tmp_path: Path) -> None:
    write_record(tmp_path, started="1")
    with pytest.raises(NotRunning, match=str(tmp_path)):
        Settings.discover(tmp_path)


def test_a_home_given_beats_the_environment_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in VALUES.items():
        monkeypatch.setenv(name, value)
    write_record(tmp_path)
    assert Settings.discover().provenance == "sim:7"
    assert Settings.discover(tmp_path).provenance == "live"


def test_the_homes_own_servers_in_the_environment_are_no_outside_servers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LIVERMORE_REDIS_URL", "unix:///h/run/s/valkey")
    assert outside_server("LIVERMORE_REDIS_URL", Path("/h/run/s")) is None
    assert outside_server("LIVERMORE_REDIS_URL", Path("/other/run/s")) == "unix:///h/run/s/valkey"


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        (None, None),
        ("20", SymbolChoice(top=20)),
        ("BTC-USD", SymbolChoice(listed=("BTC-USD",))),
        ("A, B,A", SymbolChoice(listed=("A", "B"))),
    ],
)
def test_symbols(text: str | None, choice: SymbolChoice | None) -> None:
    assert parse_symbols(text) == choice


@pytest.mark.parametrize("text", ["0", "-3", "", " , "])
def test_no_symbols(text: str) -> None:
    with pytest.raises(BadSetting):
        parse_symbols(text)


def test_times() -> None:
    assert parse_from("2026-01-05T23:30:00Z") == parse_from("2026-01-06T00:30:00+01:00") == 1767655800000


@pytest.mark.parametrize("text", ["yesterday", "2026-01-05T23:30:00", "2026-13-05T23:30:00Z"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(BadSetting, match="--from"):
        parse_from(text)


def test_exchanges_are_checked_before_anything() -> None:
    assert [row.name for row in checked_exchanges(["coinbase", "binance", "coinbase"])] == [
        "coinbase",
        "binance",
    ]
    with pytest.raises(UnknownExchange, match="nasdaq"):
        checked_exchanges(["binance", "nasdaq"])
    with pytest.raises(InactiveExchange, match="kraken"):
        checked_exchanges(["kraken"])


def test_a_home_remembers_its_seed(tmp_path: Path) -> None:
    assert seed_of_home(tmp_path, None) == 1
    (tmp_path / "provenance").write_text("sim:42\n")
    assert seed_of_home(tmp_path, None) == 42
    assert seed_of_home(tmp_path, 7) == 7


def test_a_simulation_meets_no_real_exchange() -> None:
    rows = rows_for_simulation(ROWS, {"binance": Doors("http://127.0.0.1:1", "ws://127.0.0.1:1", "c")})
    assert [row.name for row in rows if row.active] == ["binance"]
    assert next(row for row in rows if row.active).rest_url == "http://127.0.0.1:1"


def test_the_window_begins_at_a_full_minute() -> None:
    window = Window()
    window.begin(1767655800001)
    assert window.as_dict() == {"from": "2026-01-05T23:31:00Z", "to": None}


def test_help_is_quick_and_light() -> None:
    code = (
        "import sys; from livermore_dagster.cli.app import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'dagster', 'pandas', 'redis', 'psycopg'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    assert done.stderr.strip() == "[]"
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    from livermore_dagster.cli.app import main

    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0


@pytest.mark.parametrize("arguments", [["nosuch"], ["status", "--nosuch"], ["db", "nosuch"]])
def test_what_does_not_exist_is_exit_code_two(arguments: list[str]) -> None:
    from livermore_dagster.cli.app import main

    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
