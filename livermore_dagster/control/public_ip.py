"""This machine's public address, best effort: asked once, for 3 s at most, never waited for (N7)."""

from __future__ import annotations

import ipaddress

import httpx

__all__ = ["public_ip"]

_ASK = "https://checkip.amazonaws.com"


def public_ip(url: str = _ASK, timeout_s: float = 3.0) -> str | None:
    """None when it cannot be learned in time. Blocks: call it from a thread of its own."""
    try:
        reply = httpx.get(url, timeout=timeout_s)
        reply.raise_for_status()
        return str(ipaddress.ip_address(reply.text.strip()))
    except (httpx.HTTPError, ValueError):
        return None
