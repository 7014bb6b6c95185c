"""A PostgreSQL with TLS for R5."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tls_server import TlsServer, tls_server_at


@pytest.fixture(scope="session")
def tls_server() -> Iterator[TlsServer]:
    with tls_server_at() as server:
        yield server
