"""Credentials by the names of the environment variables that hold them: only names are ever stored (R8)."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping

from livermore_dagster.errors import BadSetting
from livermore_dagster.exchanges.account_contract import Credentials

__all__ = ["VARIABLE_NAME", "fingerprint", "from_environment", "require_variable_name"]

VARIABLE_NAME = r"^[A-Z_][A-Z0-9_]{0,127}$"
"""Capitals only, as POSIX names the variables of its utilities (XBD 8.1): a pasted key has small letters or
other signs in it, and is refused instead of stored."""
_NAME = re.compile(VARIABLE_NAME, re.ASCII).fullmatch


def require_variable_name(name: str) -> str:
    """`name`, if it can be an environment variable's.

    Raises BadSetting, which does not repeat what was given: it may be the key itself, pasted by mistake.
    """
    if _NAME(name) is None:
        raise BadSetting(
            f"What was given ({len(name)} characters) is not the name of an environment variable.",
            "Put the key or address into a variable (export COINBASE_API_KEY=…) and give that one's name: "
            "capitals, digits and _.",
        )
    return name


def from_environment(
    key_env: str, secret_env: str, environment: Mapping[str, str] | None = None
) -> Credentials:
    """Key and secret of an account, read now.

    Raises BadSetting, which names the variable and never what it holds.
    """
    source = os.environ if environment is None else environment
    return Credentials(_value(source, key_env), _value(source, secret_env))


def _value(source: Mapping[str, str], name: str) -> str:
    require_variable_name(name)
    if not source.get(name, "").strip():
        state = "is empty" if name in source else "is not set"
        raise BadSetting(
            f"Environment variable {name} {state}.",
            f"Set it where Livermore is started: export {name}=… (one line; \\n in a PEM is understood).",
        )
    return source[name].strip()


def fingerprint(credentials: Credentials) -> str:
    """Tells accounts' budgets apart without telling their keys."""
    return hashlib.sha256(credentials.key.encode()).hexdigest()[:16]
