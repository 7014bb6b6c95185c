"""Why an exchange cannot be reached, in words people can act on: for REST and stream alike."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

import httpx

from livermore_dagster.market.exchange import ExchangeRow

__all__ = ["Trouble", "TroubleKind", "blocked", "place_refused", "transport_trouble"]


class TroubleKind(StrEnum):
    NO_NAME = "no_name"
    """Its name cannot be resolved: mostly, there is no network."""
    NO_ROUTE = "no_route"
    REFUSED = "refused"
    CERTIFICATE = "certificate"
    TLS = "tls"
    TIMEOUT = "timeout"
    BROKEN = "broken"
    """The connection ended before the answer was whole."""
    PLACE = "place"
    """HTTP 451: it does not serve this place."""
    BLOCKED = "blocked"
    """HTTP 403 by the guard before it, not by itself."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """`text` says what is wrong, `advice` what to do."""

    kind: TroubleKind
    text: str
    advice: str


_ADVICE: Final = {
    TroubleKind.NO_NAME: "Is this machine on the Internet? Look at its network and DNS, and at HTTPS_PROXY "
    "where a proxy is needed.",
    TroubleKind.NO_ROUTE: "Is this machine on the Internet? Look at its network, VPN and firewall.",
    TroubleKind.REFUSED: "Nothing listens there, or a firewall says no. Is the address right, is a proxy in "
    "the way?",
    TroubleKind.CERTIFICATE: "A wrong date of this machine does that, or a proxy that opens TLS: look at "
    "`date`, and name the proxy's CA file in SSL_CERT_FILE.",
    TroubleKind.TLS: "Something that does not speak TLS answers there, such as a proxy's login page.",
    TroubleKind.TIMEOUT: "The network is slow, or a firewall swallows what is sent. It is tried again.",
    TroubleKind.BROKEN: "It is tried again. If it stays so: a proxy or firewall cuts connections.",
}
_NO_ROUTE: Final = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL)


def transport_trouble(error: BaseException, address: str) -> Trouble:
    """Of an error of httpx, websockets or the socket below them. `address`: the URL that was asked."""
    place = urlsplit(address)
    host = place.hostname or address
    door = f"{host}:{place.port}" if place.port else host
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                why = (cause.verify_message or "it cannot be verified").rstrip(".")
                return _made(
                    TroubleKind.CERTIFICATE, f"{host} shows a certificate that is not trusted: {why}."
                )
            case ssl.SSLError():
                reason = str(getattr(cause, "reason", None) or "no reason given").replace("_", " ").lower()
                return _made(TroubleKind.TLS, f"No encrypted connection with {door}: {reason}.")
            case socket.gaierror():
                return _made(TroubleKind.NO_NAME, f"{host} cannot be found: its name is not resolved.")
            case ConnectionRefusedError():
                return _made(TroubleKind.REFUSED, f"{door} refuses the connection.")
            case OSError() if cause.errno in _NO_ROUTE:
                return _made(TroubleKind.NO_ROUTE, f"No way leads to {host}: {cause.strerror}.")
            case TimeoutError() | httpx.TimeoutException():
                return _made(TroubleKind.TIMEOUT, f"{door} does not answer in time.")
    return _made(TroubleKind.BROKEN, f"{door} broke off: {_name(error)}.")


def place_refused(row: ExchangeRow) -> Trouble:
    """HTTP 451."""
    excluded = ", ".join(row.geo_restrictions.get("excluded", ())) or "not known here"
    return Trouble(
        TroubleKind.PLACE,
        f"{row.display_name} does not serve this place (HTTP 451).",
        f"Places known to be excluded: {excluded}. Run Livermore from a place it serves, or start another "
        f"exchange and stop this one: livermore stop {row.name}",
    )


def blocked(row: ExchangeRow) -> Trouble:
    """HTTP 403 with a page for browsers: a firewall before the exchange, not the exchange, said no."""
    return Trouble(
        TroubleKind.BLOCKED,
        f"A guard before {row.display_name} blocks this machine (HTTP 403 and a web page).",
        "Addresses of VPNs and data centres are often blocked, others for minutes after too many requests. "
        "Wait, then try from another network.",
    )


def _made(kind: TroubleKind, text: str) -> Trouble:
    return Trouble(kind, text, _ADVICE[kind])


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, groups included, the outermost last: the deepest knows most."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if one in seen:
            continue
        seen.append(one)
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
        waiting += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
    return reversed(seen)


def _name(error: BaseException) -> str:
    # A header that cannot be sent is quoted by the library, and it may be a key.
    text = "" if isinstance(error, httpx.LocalProtocolError) else str(error).rstrip(".")
    return f"{type(error).__name__} {text}" if text else type(error).__name__
