"""Each way an exchange cannot be reached has its words, whatever the library wrapped it in."""

from __future__ import annotations

import errno
import socket
import ssl

import httpx
import pytest

from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.exchanges.trouble import TroubleKind, blocked, place_refused, transport_trouble

BINANCE = next(row for row in ROWS if row.name == "binance")


def wrapped(inner: BaseException) -> BaseException:
    """As httpx does: by way of the library below it."""
    try:
        try:
            raise inner
        except BaseException as low:
            raise httpx.ConnectError("All connection attempts failed") from low
    except httpx.ConnectError as error:
        return error


def certificate() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    return error


@pytest.mark.parametrize(
    ("inner", "kind", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), TroubleKind.NO_NAME, "cannot be found"),
        (
            ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
            TroubleKind.REFUSED,
            "refuses the connection",
        ),
        (
            OSError(errno.ENETUNREACH, "Network is unreachable"),
            TroubleKind.NO_ROUTE,
            "Network is unreachable",
        ),
        (certificate(), TroubleKind.CERTIFICATE, "certificate has expired"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), TroubleKind.TLS, "No encrypted connection"),
        (TimeoutError(), TroubleKind.TIMEOUT, "does not answer in time"),
        (httpx.ReadTimeout(""), TroubleKind.TIMEOUT, "does not answer in time"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), TroubleKind.BROKEN, "broke off"),
    ],
    ids=lambda value: value.value if isinstance(value, TroubleKind) else "",
)
def test_a_failure_is_told_by_its_cause(inner: BaseException, kind: TroubleKind, words: str) -> None:
    for error in (inner, wrapped(inner), wrapped(ExceptionGroup("two addresses", [inner]))):  # type: ignore[type-var]
        found = transport_trouble(error, "https://api.example.com:8443/x")
        assert found.kind is kind
        assert words in found.text
        assert "api.example.com" in found.text
        assert found.advice


def test_the_place_and_the_guard_are_told_apart() -> None:
    place, guard = place_refused(BINANCE), blocked(BINANCE)
    assert "451" in place.text
    assert "US, CA, NL" in place.advice
    assert "livermore stop binance" in place.advice
    assert "403" in guard.text
    assert "another network" in guard.advice
