"""What a service started as a process of its own needs: addresses from the environment, JSON lines out."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import structlog

from livermore_dagster.errors import BadSetting

__all__ = ["ServiceEnvironment", "log_as_json"]


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


def log_as_json() -> None:
    """One JSON object a line on standard error. Nothing here logs an address that may hold a password."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
