"""The one port of observability, on loopback: /metrics for Prometheus, /health for watchers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any, Final, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import redis
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import make_wsgi_app

from livermore_dagster.errors import LivermoreError
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.platform.child import Child
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.metrics_collector import PlatformCollector, ProcessFacts
from livermore_dagster.platform.options import DEFAULT_METRICS_PORT
from livermore_dagster.platform.processes import family_memory
from livermore_dagster.platform.service_watch import ServiceHealth, ServiceWatch
from livermore_dagster.platform.vitals import Health, read_vitals
from livermore_dagster.platform.watch import MarketTime
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.client import connect

__all__ = ["MetricsServer", "free_metrics_port", "process_facts"]

HOST: Final = "127.0.0.1"
HEALTHY: Final = (Health.OK, Health.IDLE, Health.STARTING, Health.PAUSED)
StartResponse = Callable[..., Any]


class MetricsServer:
    """Answers in threads of its own; figures are read anew for each request."""

    def __init__(
        self,
        settings: Settings,
        rows: Callable[[], Sequence[ExchangeRow]],
        processes: Callable[[], Sequence[ProcessFacts]],
        port: int,
        *,
        speed: float = 1.0,
    ) -> None:
        """`port` 0 takes a free one. Raises OSError where it is taken."""
        self._settings = settings
        self._rows = rows
        self._speed = speed
        self._market_time = MarketTime.of(settings)
        self._services = ServiceWatch(settings)
        registry = CollectorRegistry()
        registry.register(PlatformCollector(settings, rows, processes, speed))
        self._metrics = make_wsgi_app(registry)
        self._server = make_server(HOST, port, self._answer, _Server, _Quiet)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        self._services.start()
        self._thread.start()

    def close(self) -> None:
        """Ends at once; a request under way is cut."""
        self._services.close()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(2)
        self._server.server_close()

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether all is well, each exchange's figures, and how the services fare that all hang on."""
        services = [self._services.database()]
        try:
            with connect(self._settings.redis_url) as client:
                found = read_vitals(client, self._rows(), self._market_time.now_ms())
                services.append(self._services.notifier(cast("str | None", client.get(keys.NOTIFIER))))
        except (redis.RedisError, LivermoreError, OSError) as error:
            wrong = [str(error), *_troubles(services)]
            return False, {
                "health": Health.DOWN,
                "wrong": wrong,
                "services": _facts(services),
                "exchanges": {},
            }
        exchanges = {one.name: one.as_dict(self._speed) for one in found}
        ill = {name: facts for name, facts in exchanges.items() if facts["health"] not in HEALTHY}
        down = any(facts["health"] == Health.DOWN for facts in ill.values())
        troubles = _troubles(services)
        well = not ill and not troubles
        overall = Health.OK if well else Health.DOWN if down else Health.DEGRADED
        wrong = [f"{name}: {text}" for name, facts in ill.items() for text in facts["wrong"]]
        facts = {
            "health": overall,
            "wrong": [*troubles, *wrong],
            "services": _facts(services),
            "provenance": self._settings.provenance,
            "market_time_ms": self._market_time.now_ms(),
            "exchanges": exchanges,
        }
        return well, facts

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", "/")).rstrip("/")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        if path == "/health":
            well, facts = self.health()
            return _json(start_response, HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE, facts)
        if path.startswith("/health/"):
            return self._answer_exchange(path.removeprefix("/health/"), start_response)
        doors = ["/metrics", "/health", "/health/{exchange}"]
        return _json(
            start_response, HTTPStatus.NOT_FOUND, {"error": f"No {path or '/'} here.", "doors": doors}
        )

    def _answer_exchange(self, name: str, start_response: StartResponse) -> Iterable[bytes]:
        _, facts = self.health()
        known = [row.name for row in self._rows() if row.active]
        if name not in known:
            error = {"error": f"Unknown exchange {name!r}.", "exchanges": known}
            return _json(start_response, HTTPStatus.NOT_FOUND, error)
        found = facts["exchanges"].get(name)
        if found is None:
            return _json(start_response, HTTPStatus.SERVICE_UNAVAILABLE, facts)
        well = found["health"] in HEALTHY
        return _json(start_response, HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE, found)


def free_metrics_port(wanted: int | None) -> int:
    """The port asked for; else the usual one where it is free, else 0: any."""
    if wanted is not None:
        return wanted
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, DEFAULT_METRICS_PORT))
        except OSError:
            return 0
    return DEFAULT_METRICS_PORT


def process_facts(children: Sequence[Child]) -> list[ProcessFacts]:
    """Of the children of `up`, asked for in a thread beside the one that keeps them."""
    found = []
    for child in list(children):
        pid = child.pid
        memory = family_memory(pid) if pid is not None else 0
        found.append(ProcessFacts(child.spec.name, pid is not None, child.restarts, memory))
    return found


def _troubles(services: Sequence[ServiceHealth]) -> list[str]:
    return [f"{one.name}: {text}" for one in services for text in one.wrong]


def _facts(services: Sequence[ServiceHealth]) -> dict[str, Any]:
    return {one.name: one.as_dict() for one in services}


def _json(start_response: StartResponse, status: HTTPStatus, facts: object) -> list[bytes]:
    body = json.dumps(facts, indent=1).encode() + b"\n"
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(f"{status.value} {status.phrase}", headers)
    return [body]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False


class _Quiet(WSGIRequestHandler):
    """A scrape every few seconds is no news."""

    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has there
        return
