"""What a service started as a process of its own needs: addresses from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from livermore_dagster.errors import BadSetting

__all__ = ["ServiceEnvironment"]


@dataclass(frozen=True, slots=True)
class ServiceEnvironment:
    """The addresses a service needs, from LIVERMORE_* variables."""

    redis_url: str
    database_url: str
    database_ca: Path | None
    provenance: str

    @classmethod
    def read(cls) -> ServiceEnvironment:
        """Raises BadSetting, which names the first variable missing."""
        ca = os.environ.get("LIVERMORE_DATABASE_CA")
        return cls(
            _needed("LIVERMORE_REDIS_URL"),
            _needed("LIVERMORE_DATABASE_URL"),
            Path(ca) if ca else None,
            _needed("LIVERMORE_PROVENANCE"),
        )


def _needed(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise BadSetting(f"{name} is not set.", 'Run eval "$(livermore env)" first.')
    return value
