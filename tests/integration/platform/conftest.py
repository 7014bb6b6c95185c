"""A PostgreSQL with TLS for R5, and patience with servers that only the machine keeps from answering."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from livermore_dagster.platform import service_watch
from tests.tls_server import TlsServer, tls_server_at


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_S", "ANSWER_S"):
        monkeypatch.setattr(service_watch, name, 60.0)


@pytest.fixture(scope="session")
def tls_server() -> Iterator[TlsServer]:
    with tls_server_at() as server:
        yield server
