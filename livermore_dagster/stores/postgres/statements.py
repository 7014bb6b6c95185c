"""SQL of the PostgreSQL stores, loaded from the package's files with verb names."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import LiteralString

__all__ = ["sql"]


@cache
def sql(name: str) -> LiteralString:
    """Text of `sql/<name>.sql`: part of the program, never of any input."""
    return resources.files(__package__).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
