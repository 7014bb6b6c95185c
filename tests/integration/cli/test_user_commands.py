"""`livermore user` and `livermore settings`, run as a user runs them, on real stores."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from .conftest import Command

pytestmark = pytest.mark.usefixtures("filled")


@pytest.fixture
def ana(command: Command) -> str:
    assert command("user", "add", "root", "--role", "admin").code == 0
    assert command("user", "add", "ana", "--role", "user", "--email", "ana@example.org").code == 0
    return "ana"


def test_users_are_added_listed_and_disabled(command: Command, ana: str) -> None:
    assert command("user", "disable", ana).code == 0
    users = json.loads(command("user", "list", "--json").out)
    assert [(user["sub"], user["role"], user["active"]) for user in users] == [
        ("root", "admin", True),
        ("ana", "user", False),
    ]
    assert "ana@example.org" in command("user", "list").out
    done = command("settings", "get", "--user", ana)
    assert (done.code, "disabled" in done.err) == (2, True)
    assert command("user", "enable", ana).code == 0
    assert command("settings", "get", "--user", ana).code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("user", "role", "eve", "admin"), "Unknown user 'eve'. Users: root, ana."),
        (("user", "role", "ana", "emperor"), "Roles: admin, user, subscriber_basic, subscriber_pro."),
        (("user", "disable", "root"), "only active admin"),
        (("user", "add", "ana", "--role", "user"), "exists already"),
        (("settings", "history", "--user", "eve"), "Unknown user 'eve'. Users: root, ana."),
        (("commands", "--by", "eve"), "Unknown user 'eve'. Users: root, ana."),
        (
            ("settings", "set", "alerts.exchanges", '["nasdaq"]', "--user", "ana"),
            "no such exchange; known are",
        ),
        (("settings", "get"), "Give --user SUB, or set LIVERMORE_USER."),
        (("settings", "get", "alerts.nothing", "--user", "ana"), "At 'nothing' there is: enabled,"),
        (("settings", "set", "alerts.cooldown_s", "12", "--user", "ana"), "alerts.cooldown_s is 12:"),
        (("settings", "set", "alerts.enabled", "no", "--user", "ana"), 'alerts.enabled is "no":'),
        (("settings", "import", "/nowhere.json", "--user", "ana"), "/nowhere.json cannot be read"),
    ],
)
def test_what_cannot_be_is_refused_with_words(
    command: Command, ana: str, arguments: tuple[str, ...], words: str
) -> None:
    done = command(*arguments)
    assert done.code == 2
    assert words in done.err.replace("\n", " ")
    assert done.out == ""


def test_an_export_is_imported_identically(command: Command, ana: str, tmp_path: Path) -> None:
    changed = command("settings", "set", "alerts.timeframes", '["15m", "1h"]', "--user", ana, "--json")
    assert json.loads(changed.out) == {"user": "ana", "revision": 1}
    file = tmp_path / "settings.json"
    assert command("settings", "export", "--out", str(file), "--user", ana).code == 0
    assert command("settings", "diff", str(file), "--user", ana).code == 0
    assert command("settings", "set", "alerts.enabled", "false", "--user", ana).code == 0
    different = command("settings", "diff", str(file), "--user", ana, "--json")
    assert different.code == 1
    assert json.loads(different.out) == [{"path": "alerts.enabled", "now": False, "file": True}]
    assert command("settings", "import", str(file), "--user", ana).code == 0
    assert command("settings", "export", "--user", ana).out == file.read_text()
    story = json.loads(command("settings", "history", "--user", ana, "--json").out)
    assert [(one["revision"], one["path"], one["by"]) for one in story] == [
        (3, "alerts.enabled", "ana"),
        (2, "alerts.enabled", "ana"),
        (1, "alerts.timeframes", "ana"),
    ]


def test_changes_are_told_in_utc_whatever_the_servers_zone(command: Command, ana: str) -> None:
    assert command("settings", "set", "alerts.enabled", "false", "--user", ana).code == 0
    here, there = (command("settings", "history", "--user", ana, PGTZ=zone) for zone in ("UTC", "Asia/Tokyo"))
    assert here.out == there.out
    (change,) = json.loads(command("settings", "history", "--user", ana, "--json").out)
    assert change["at"].endswith("+09:00"), "the zone was another"


def test_a_change_made_from_an_old_revision_is_refused(command: Command, ana: str) -> None:
    who = {"LIVERMORE_USER": ana}
    assert command("settings", "set", "alerts.reversals", "false", "--revision", "0", **who).code == 0
    done = command("settings", "set", "alerts.reversals", "true", "--revision", "0", **who)
    assert done.code == 2
    assert "revision 1" in done.err
    assert json.loads(command("settings", "get", "alerts.reversals", "--json", **who).out)["value"] is False


def test_brackets_of_a_user_are_no_markup(command: Command, ana: str) -> None:
    assert command("user", "add", "bob", "--role", "user", "--name", "[/red] [bold]Bob").code == 0
    assert "[/red] [bold]Bob" in command("user", "list").out
    text = '"[/b] of mine"'
    assert command("settings", "set", "profile.description", text, "--user", ana).code == 0
    assert text in command("settings", "history", "--user", ana).out


def test_a_database_of_another_version_is_told(command: Command, ana: str, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE users RENAME COLUMN picture_url TO portrait_url")
    done = command("user", "list")
    assert done.code == 1
    words = done.err.replace("\n", " ")
    assert "not what schema.sql says" in words
    assert "livermore db apply" in words
