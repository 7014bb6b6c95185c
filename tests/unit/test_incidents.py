"""Catalogue, runbook, counters and the places that tell incidents agree with one another."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from livermore_dagster.incidents import CATALOGUE, IncidentName, runbook

ROOT = Path(__file__).parents[2]
CATALOGUE_FILE = ROOT / "livermore_dagster" / "incidents.py"
TELLING = {"incident": 1, "incident_sync": 1, "trouble": 0, "on_trouble": 0, "on_notice": 0, "_on_trouble": 0}
"""Functions that tell an incident, and the place of its name among their arguments."""
PASSING = {"name", "trouble.name", "self._work.waits", "self._work.resumes"}
"""Where a name that was typed elsewhere is only handed on."""


@cache
def sources() -> dict[Path, ast.Module]:
    folders = ("livermore_dagster", "assets", "sensors")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path: ast.parse(path.read_text()) for path in files if "simulator" not in path.parts}


@cache
def nodes() -> list[tuple[Path, ast.AST]]:
    """Of every source, what the tests look at: to walk all of them takes a second."""
    wanted = (ast.Call, ast.Constant, ast.keyword, ast.Attribute)
    return [
        (path, node)
        for path, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, wanted)
    ]


def told() -> Iterator[tuple[Path, ast.expr]]:
    """The name argument of every call that tells an incident."""
    for path, node in nodes():
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        place = TELLING.get(called)
        if place is not None and len(node.args) > place:
            yield path, node.args[place]


def names_in(expression: ast.expr) -> set[str]:
    return {
        node.attr
        for node in ast.walk(expression)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "IncidentName"
    }


@cache
def sections() -> dict[str, str]:
    parts = re.split(r"^## ", (ROOT / "docs" / "runbook.md").read_text(), flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part for part in parts}


@cache
def counted() -> set[str]:
    """Every string of the sources but those of the catalogue: names of counters are among them."""
    return {
        node.value
        for path, node in nodes()
        if path != CATALOGUE_FILE and isinstance(node, ast.Constant) and isinstance(node.value, str)
    } | {node.arg for _, node in nodes() if isinstance(node, ast.keyword) and node.arg}


def test_only_names_of_the_catalogue_are_told() -> None:
    found = list(told())
    assert len(found) > 20
    for path, argument in found:
        assert names_in(argument) or ast.unparse(argument) in PASSING, f"{path}: {ast.unparse(argument)}"


def test_what_is_told_is_logged_in_the_same_words() -> None:
    """Who writes an incident's text down logs it too: the log alone is what is left when Redis is away."""
    tellers = {
        f"{path.stem}.{getattr(place, 'name', '')}": _logs_text(place)
        for path, tree in sources().items()
        if path.name != "metrics.py"
        for place in tree.body
        if _calls(place, {"incident", "incident_sync"})
    }
    assert len(tellers) >= 8
    assert all(tellers.values()), tellers


def _calls(place: ast.stmt, names: set[str]) -> list[ast.Call]:
    calls = [node for node in ast.walk(place) if isinstance(node, ast.Call)]
    return [one for one in calls if getattr(one.func, "attr", getattr(one.func, "id", "")) in names]


def _logs_text(place: ast.stmt) -> bool:
    logged = _calls(place, {"info", "warning", "error"})
    return any(keyword.arg == "text" for call in logged for keyword in call.keywords)


def test_every_name_is_told_somewhere() -> None:
    used = {
        node.attr
        for path, node in nodes()
        if path != CATALOGUE_FILE
        and isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "IncidentName"
    }
    assert used == {name.name for name in IncidentName}


def test_the_catalogue_is_whole() -> None:
    assert set(CATALOGUE) == set(IncidentName)
    for kind in CATALOGUE.values():
        assert kind.words.endswith(".")
        assert len(kind.words) < 110


@pytest.mark.parametrize("name", list(IncidentName))
def test_the_runbook_says_what_to_do(name: IncidentName) -> None:
    kind, section = CATALOGUE[name], sections()[name.value]
    assert f"*{kind.severity.value}.* {kind.words}" in section
    for part in ("**Livermore** ", "**You:** ", "**Counters:** "):
        assert part in section
    said = section.partition("**Counters:**")[2]
    assert set(re.findall(r"`(\w+)`", said)) == set(kind.counters)
    assert set(kind.counters) <= counted() | {f"http_{status}" for status in (418, 429)}
    assert runbook(name) == f"docs/runbook.md#{name.value}"


def test_the_runbook_has_no_section_too_many() -> None:
    assert set(sections()) == {name.value for name in IncidentName}
