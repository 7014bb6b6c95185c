"""docs/metrics.md lists what is exported, and every counter of the code has its metric."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from livermore_dagster.platform.metrics_catalogue import BEGIN, COUNTERS, END, METRICS, as_markdown

ROOT = Path(__file__).parents[3]
SOURCES = [
    path
    for folder in ("livermore_dagster", "assets", "sensors")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".lua") and "simulator" not in path.parts
]
COUNTED = (
    re.compile(r"""metrics\.count\([^"()]*(?:\([^()]*\))?[^"()]*,\s*"([a-z_0-9]+)"[,)]"""),
    re.compile(r"""(?:meter|_meter)\.count\("([a-z_0-9]+)"[,)]"""),
    re.compile(r"""await count\([^"]*?,\s*"([a-z_0-9]+)"[,)]"""),
    re.compile(r"""'HINCRBY', KEYS\[\d\], '([a-z_]+)'[,)]"""),
)


def counted() -> set[str]:
    texts = [path.read_text() for path in SOURCES]
    return {name for text in texts for pattern in COUNTED for name in pattern.findall(text)}


def test_every_counter_of_the_code_has_a_metric() -> None:
    found = counted()
    assert {"closes", "reconnects", "rest_failures", "alerts_stored", "audit_differences"} <= found
    assert found <= set(COUNTERS)


@pytest.mark.parametrize("name", sorted(COUNTERS))
def test_no_metric_is_of_a_counter_that_nothing_counts(name: str) -> None:
    stem = re.escape(re.sub(r"^http_.*", "http_", name) if name.startswith("http_") else name)
    word = re.compile(rf"""["']{stem}|\b{stem}=|["'][{{]self\._work[}}]_retries""")
    sources = [path for path in SOURCES if path.name not in ("metrics_catalogue.py", "incidents.py")]
    assert any(word.search(path.read_text()) for path in sources)


def test_the_documentation_lists_what_is_exported() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    shown = text.split(BEGIN)[1].split(END)[0]
    assert shown == as_markdown(), "run: python -m livermore_dagster.platform.metrics_catalogue"


def test_names_follow_the_conventions() -> None:
    for metric in METRICS.values():
        assert re.fullmatch(r"livermore_[a-z0-9_]+", metric.name)
        assert not metric.name.endswith("_total")
        assert metric.help.endswith((".", "1."))
        assert not re.search(r"_(ms|minutes|hours|kb|mb)$", metric.name)
