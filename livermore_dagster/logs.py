"""How every process logs: one JSON object a line, at the level asked for, without secrets (R8)."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from livermore_dagster.errors import BadSetting

__all__ = ["LEVEL", "log_at", "log_for_commands", "log_level", "log_to_stderr", "processors", "scrub"]

LEVEL: Final = "LIVERMORE_LOG_LEVEL"
LEVELS: Final = ("debug", "info", "warning", "error")
MASK: Final = "***"

_SECRET_NAME: Final = re.compile(
    r"(^|_)(password|passwd|secret|api_?key|private_?key|authorization|signature|jwt|webhook)(_|$)",
    re.IGNORECASE,
)
_SECRETS: Final = (
    # The password in user:password@host.
    (re.compile(r"(://[^/\s:@]*:)[^@\s/]+(@)"), rf"\1{MASK}\2"),
    (re.compile(r"(discord(?:app)?\.com/api/(?:v\d+/)?webhooks/\d+/)[\w-]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\1{MASK}"),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]+"), MASK),
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL),
        MASK,
    ),
    (re.compile(r"(\b(?:signature|api_?key|secret|password|token)=)[^&\s\"']+", re.IGNORECASE), rf"\1{MASK}"),
)

Event = MutableMapping[str, Any]


def log_level() -> int:
    """The level LIVERMORE_LOG_LEVEL names, info where it is not set. Raises BadSetting."""
    name = os.environ.get(LEVEL, "") or "info"
    if name.lower() not in LEVELS:
        raise BadSetting(f"{LEVEL} is {name!r}.", f"Levels: {', '.join(LEVELS)}.")
    return int(logging.getLevelNamesMapping()[name.upper()])


def scrub(logger: Any, method: str, event: Event) -> Event:
    """The last processor before rendering: what looks like a secret is masked, wherever it stands."""
    for name, value in event.items():
        event[name] = MASK if _is_secret(name, value) else _masked(value)
    return event


def _is_secret(name: str, value: object) -> bool:
    """Names of environment variables (key_env) are no secrets, and neither are numbers or switches."""
    return (
        isinstance(value, str)
        and bool(value)
        and not name.endswith("_env")
        and bool(_SECRET_NAME.search(name))
    )


def _masked(value: Any) -> Any:
    match value:
        case str():
            for pattern, replacement in _SECRETS:
                value = pattern.sub(replacement, value)
            return value
        case dict():
            return {name: MASK if _is_secret(str(name), one) else _masked(one) for name, one in value.items()}
        case list() | tuple():
            return [_masked(one) for one in value]
        case None | bool() | int() | float():
            return value
        case _:
            return _masked(str(value))


def processors() -> list[Any]:
    """From a call to an event that is ready to be rendered as JSON."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        scrub,
    ]


def log_to_stderr() -> None:
    """For a process whose standard error is its log."""
    _to_stderr(log_level())


def log_for_commands() -> None:
    """A command says what it has to say itself; its libraries' lines only where a level is asked for."""
    level = log_level() if os.environ.get(LEVEL) else logging.CRITICAL
    _to_stderr(level)
    if logging.lastResort is not None:  # what Python itself prints where nobody has set up logging
        logging.lastResort.setLevel(level)


def log_at(name: str) -> None:
    """From now on this process logs at level `name`, unless LIVERMORE_LOG_LEVEL says at which."""
    if os.environ.get(LEVEL):
        return
    level = logging.getLevelNamesMapping()[name.upper()]
    logging.getLogger("livermore_dagster").setLevel(level)  # in Dagster's processes
    if structlog.get_config()["logger_factory"] is _stderr_logger:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


def _stderr_logger(*_: object) -> structlog.PrintLogger:
    """Of the standard error there is now: a process that embeds a command may have another one by then."""
    return structlog.PrintLogger(sys.stderr)


def _to_stderr(level: int) -> None:
    structlog.configure(
        processors=[*processors(), structlog.processors.JSONRenderer()],
        logger_factory=_stderr_logger,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
