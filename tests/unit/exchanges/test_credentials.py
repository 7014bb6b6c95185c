"""Credentials come from named variables and show in nothing."""

from __future__ import annotations

import pytest

from livermore_dagster.errors import BadSetting
from livermore_dagster.exchanges.account_contract import Credentials
from livermore_dagster.exchanges.credentials import fingerprint, from_environment, require_variable_name

ENVIRONMENT = {"MY_KEY": "  the-key\n", "MY_SECRET": "the-secret", "EMPTY": "  "}


def test_named_variables_are_read_and_trimmed() -> None:
    found = from_environment("MY_KEY", "MY_SECRET", ENVIRONMENT)
    assert (found.key, found.secret) == ("the-key", "the-secret")


@pytest.mark.parametrize(("name", "state"), [("ABSENT", "is not set"), ("EMPTY", "is empty")])
def test_a_missing_variable_is_named_and_no_value_is(name: str, state: str) -> None:
    with pytest.raises(BadSetting, match=f"{name} {state}") as refused:
        from_environment("MY_KEY", name, ENVIRONMENT)
    assert "the-key" not in str(refused.value)


@pytest.mark.parametrize(
    "pasted",
    ["organizations/o/apiKeys/k", "-----BEGIN EC PRIVATE KEY-----", "", "9LIVES", "vmPUZE6mv9SD5VN", "AB\n"],
)
def test_a_key_pasted_for_a_name_is_not_repeated(pasted: str) -> None:
    with pytest.raises(BadSetting, match="not the name of an environment variable") as refused:
        require_variable_name(pasted)
    assert not pasted or pasted not in str(refused.value)


def test_nothing_shows_credentials() -> None:
    held = Credentials("the-key", "the-secret")
    for text in (repr(held), str(held), f"{held}", repr([held]), fingerprint(held)):
        assert "the-" not in text
    assert fingerprint(held) != fingerprint(Credentials("another", "the-secret"))
