"""`python -m livermore_dagster.ingest EXCHANGE`: the live service without Dagster, until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import structlog

from livermore_dagster.errors import BadSetting, LivermoreError
from livermore_dagster.ingest.service import IngestService

_STOP_S = 3.0


@dataclass(frozen=True)
class _Environment:
    """The addresses a service needs, from LIVERMORE_* variables."""

    redis_url: str
    database_url: str
    database_ca: Path | None
    provenance: str


def _environment() -> _Environment:
    def needed(name: str) -> str:
        value = os.environ.get(name, "")
        if not value:
            raise BadSetting(f"{name} is not set.", 'Run eval "$(livermore env)" first.')
        return value

    ca = os.environ.get("LIVERMORE_DATABASE_CA")
    return _Environment(
        needed("LIVERMORE_REDIS_URL"),
        needed("LIVERMORE_DATABASE_URL"),
        Path(ca) if ca else None,
        needed("LIVERMORE_PROVENANCE"),
    )


def _log_as_json() -> None:
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


def main() -> int:
    """Exit code 0 after a clean stop, 1 or 2 with words on standard error otherwise."""
    parser = argparse.ArgumentParser(prog="python -m livermore_dagster.ingest", description=__doc__)
    parser.add_argument("exchange")
    exchange = parser.parse_args().exchange
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    _log_as_json()
    try:
        found = _environment()
        service = IngestService(found, exchange, provenance=found.provenance)
        service.start()
        while not service.wait(0.1):
            if asked.is_set():
                service.stop(_STOP_S, "the process was told to end")
                break
        if service.error is not None:
            raise service.error
    except LivermoreError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
