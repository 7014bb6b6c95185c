"""docs/faults.md, made of the scenarios: `python -m tests.integration.faults.table` writes it."""

from __future__ import annotations

from pathlib import Path

from tests.integration.faults.scenarios import ACTS, EXCHANGES, Scenario, acts_of
from tests.integration.faults.test_defences import CONTROLS, Control

__all__ = ["DOCUMENT", "document", "modes_of"]

DOCUMENT = Path(__file__).parents[3] / "docs" / "faults.md"

_HEAD = """\
# What exchanges do to us, and what stands against it

Each line is a fault of the simulated exchanges ([how they are ordered](simulator.md#faults)) let loose on a
live service with real sockets, Valkey and PostgreSQL: `make test` has one test for each ●, named
`EXCHANGE-FAULT`, in `tests/integration/faults/test_modes.py`. It passes when PostgreSQL and Redis hold
exactly the exchange's candles afterwards, the counters have grown, the incidents ([runbook](runbook.md)) were
told, and no 429 or 418 came but those ordered. A fault that left no mark strikes again, alone, twice at
most: on a busy machine it may have met a connection that was just being replaced.

*Without*: the defence is taken out, and the same test must fail on the exchanges named (`make soak`,
`test_defences.py`).

`make soak` also kills amid the faults (`test_kills_amid_faults.py`): in the midst of each act the live
service's process, Valkey or PostgreSQL gets a kill -9 and begins anew, on each exchange. Candles and alerts
are then the exchange's and the oracle's, and no refusal follows the one that was ordered.

"""
_COLUMNS = ("failure mode", "fault", *EXCHANGES, "defence", "counters", "incidents", "without")


def document() -> str:
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *_rows()]
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def modes_of(exchange: str) -> set[int]:
    """Numbers of the failure modes that befall it in tests."""
    texts = {one.mode.split(" ")[0] for act in acts_of(exchange) for one in act}
    return {int(text) for text in texts if text.isdecimal()}


def _rows() -> list[tuple[str, ...]]:
    scenarios = [one for act in ACTS for one in act]
    return [_row(one) for one in sorted(scenarios, key=_order)]


def _order(scenario: Scenario) -> tuple[int, str]:
    number = scenario.mode.split(" ")[0]
    return (int(number) if number.isdecimal() else 99), scenario.name


def _row(scenario: Scenario) -> tuple[str, ...]:
    there = ["●" if not scenario.only or name in scenario.only else "" for name in EXCHANGES]
    counters = [" or ".join(f"`{name}`" for name in names.split("|")) for names in scenario.counters]
    incidents = [f"[{one.value}](runbook.md#{one.value})" for one in scenario.incidents]
    without = [
        f"{one.name} ({_where(one, scenario)})"
        for one in CONTROLS
        if one.scenario == scenario.name and _where(one, scenario)
    ]
    return (
        scenario.mode,
        f"`{scenario.name}`",
        *there,
        scenario.defence,
        ", ".join(counters),
        ", ".join(incidents),
        "; ".join(without),
    )


def _where(control: Control, scenario: Scenario) -> str:
    """On which of the exchanges this scenario befalls its defence is taken out."""
    befallen = scenario.only or EXCHANGES
    there = [name for name in control.exchanges if name in befallen]
    return "each" if len(there) == len(befallen) else ", ".join(there)


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
