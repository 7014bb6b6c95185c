"""Structured logging: JSON lines into `<home>/logs`, one file per process role."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import structlog

__all__ = ["configure", "get_logger"]


def configure(home: Path, role: str, level: int = logging.INFO) -> Path:
    """Send structlog and the standard library's records to `<home>/logs/<role>.jsonl`; returns that path.

    Forked workers share the file: whole lines are appended, and `up` keeps it bounded (log_rotation).
    """
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


def get_logger(name: str, **facts: Any) -> Any:
    """A bound logger. `name` is the module's `__name__`; `facts` go into every line."""
    return structlog.stdlib.get_logger(name, **facts)
