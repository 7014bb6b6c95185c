"""Lua scripts of instances, claims and leases, loaded from the package."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["control_script"]


@cache
def control_script(name: str) -> str:
    """Text of `lua/<name>.lua`."""
    return files("livermore_dagster.control").joinpath(f"lua/{name}.lua").read_text()
