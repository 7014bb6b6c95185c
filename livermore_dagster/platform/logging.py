"""Structured logging: JSON lines into `<home>/logs`, one file per process role."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import structlog

from livermore_dagster.logs import log_level, scrub
from livermore_dagster.platform.config import HOME

__all__ = ["ROLE", "configure", "configure_from_environment", "get_logger"]

ROLE = "LIVERMORE_LOG_ROLE"
"""Set by `up` for a process that loads our code without being started by it: Dagster's code server."""


def configure(home: Path, role: str) -> Path:
    """Send structlog and the standard library's records to `<home>/logs/<role>.jsonl`; returns that path.

    At the level of LIVERMORE_LOG_LEVEL; raises BadSetting for one that is none. Forked workers share the
    file: whole lines are appended, and `up` keeps it bounded (log_rotation).
    """
    level = log_level()
    folder = home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{role}.jsonl"
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        scrub,
    ]
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger("livermore_dagster")
    root.handlers = [handler]
    root.setLevel(level)
    root.propagate = False
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else one line for each request
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return path


def configure_from_environment() -> None:
    """`configure` where `up` has named a role, nothing elsewhere."""
    role, home = os.environ.get(ROLE), os.environ.get(HOME)
    if role and home:
        configure(Path(home), role)


def get_logger(name: str, **facts: Any) -> Any:
    """A bound logger. `name` is the module's `__name__`; `facts` go into every line."""
    return structlog.stdlib.get_logger(name, **facts)
