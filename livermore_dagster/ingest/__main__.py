"""`python -m livermore_dagster.ingest EXCHANGE`: the live service without Dagster, until SIGTERM."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from livermore_dagster.control.service_process import ServiceEnvironment
from livermore_dagster.errors import LivermoreError
from livermore_dagster.ingest.service import IngestService
from livermore_dagster.logs import log_to_stderr

_STOP_S = 3.0


def main() -> int:
    """Exit code 0 after a clean stop, 1 or 2 with words on standard error otherwise."""
    parser = argparse.ArgumentParser(prog="python -m livermore_dagster.ingest", description=__doc__)
    parser.add_argument("exchange")
    exchange = parser.parse_args().exchange
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    log_to_stderr()
    try:
        found = ServiceEnvironment.read()
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
