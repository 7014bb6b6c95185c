"""N2: the transitions allowed, and nothing else."""

from __future__ import annotations

from itertools import product

import pytest

from livermore_dagster.control.states import IllegalTransition, InstanceState, check_transition

ALLOWED = {
    ("idle", "starting"),
    ("starting", "warming"),
    ("starting", "stopping"),
    ("starting", "idle"),
    ("warming", "active"),
    ("warming", "stopping"),
    ("warming", "idle"),
    ("active", "stopping"),
    ("stopping", "stopped"),
    ("stopped", "idle"),
}


@pytest.mark.parametrize(("old", "new"), list(product(InstanceState, InstanceState)))
def test_only_the_ways_of_the_rule_are_open(old: InstanceState, new: InstanceState) -> None:
    if (old.value, new.value) in ALLOWED:
        check_transition(old, new)
    else:
        with pytest.raises(IllegalTransition, match=f"from {old} to {new}"):
            check_transition(old, new)
