"""`python -m livermore_dagster.ingest EXCHANGE [--standby]`: the live service without Dagster, until SIGTERM.

With --standby it waits, listed, for as long as another instance holds the exchange.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading

import redis

from livermore_dagster.control.service_process import ServiceEnvironment
from livermore_dagster.control.standby import Standby
from livermore_dagster.errors import LivermoreError
from livermore_dagster.exchanges.factory import require_active, row_named
from livermore_dagster.ingest.service import IngestService
from livermore_dagster.logs import log_to_stderr
from livermore_dagster.stores.redis.client import connect
from livermore_dagster.stores.redis.desired import read_desired_sync
from livermore_dagster.stores.redis.provenance import claim_provenance

_STOP_S = 3.0
_SOCKET_S = 5.0


def main() -> int:
    """Exit code 0 after a clean stop, 1 or 2 with words on standard error otherwise."""
    parser = argparse.ArgumentParser(prog="python -m livermore_dagster.ingest", description=__doc__)
    parser.add_argument("exchange")
    parser.add_argument("--standby", action="store_true")
    given = parser.parse_args()
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    log_to_stderr()
    try:
        found = ServiceEnvironment.read()
        if given.standby:
            _stand_by(found, given.exchange, asked)
        else:
            _serve(IngestService(found, given.exchange, provenance=found.provenance), asked)
    except LivermoreError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _stand_by(found: ServiceEnvironment, exchange: str, asked: threading.Event) -> None:
    """Waits for the exchange, then serves it."""
    row = require_active(row_named(exchange))
    connect(found.redis_url).close()  # says in words what is wrong with the address
    with redis.Redis.from_url(
        found.redis_url,
        decode_responses=True,
        socket_timeout=_SOCKET_S,
        socket_connect_timeout=_SOCKET_S,
    ) as client:
        claim_provenance(client, found.provenance)

        def wanted() -> bool:
            desired = read_desired_sync(client, row.id)
            return desired is not None and desired.present

        standby = Standby(client, row.id, row.name, wanted=wanted)
        try:
            if standby.wait(asked):
                token = standby.token
                _serve(IngestService(found, exchange, provenance=found.provenance, token=token), asked)
        finally:
            standby.close()


def _serve(service: IngestService, asked: threading.Event) -> None:
    """Until it ends by itself or the process is told to. Raises what ended it."""
    service.start(asked=asked)
    while not service.wait(0.1):
        if asked.is_set():
            service.stop(_STOP_S, "the process was told to end")
            break
    if service.error is not None:
        raise service.error


if __name__ == "__main__":
    sys.exit(main())
