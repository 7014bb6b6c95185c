"""Discord by webhook: embed and files in one request, its receipts, its limits.

Discord's limits are per webhook (X-RateLimit-Remaining, -Reset-After) and over all (429 with global). A
webhook is left alone for as long as Discord says, whoever sends to it; nothing is sent into a closed window.
Source: Discord's developer documentation, 'Execute Webhook' and 'Rate Limits'.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from livermore_dagster.clock import Clock
from livermore_dagster.notify.channel import Refused, Reply, Sent, TryAgain, scrubbed
from livermore_dagster.notify.text import Notice

__all__ = ["DiscordChannel", "Gates", "check_webhook"]

_TIMEOUT: Final = httpx.Timeout(10.0, connect=5.0)
_WHOLE_S: Final = 15.0
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_DEFAULT_WAIT_S: Final = 5.0
_LONGEST_WAIT_S: Final = 86_400.0
"""What waits for longer has expired."""
_TELLING: Final = ("retry-after", "x-ratelimit-global", "x-ratelimit-remaining", "x-ratelimit-reset-after")


class Gates:
    """Until when each webhook, and all of them, are closed. One per process; monotonic seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}
        self._all_until = 0.0

    def wait_s(self, address: str) -> float:
        until = max(self._all_until, self._until.get(address, 0.0))
        return max(0.0, until - self._clock.monotonic())

    def close(self, address: str, seconds: float) -> None:
        self._until[address] = max(self._until.get(address, 0.0), self._clock.monotonic() + seconds)

    def close_all(self, seconds: float) -> None:
        self._all_until = max(self._all_until, self._clock.monotonic() + seconds)


def check_webhook(address: str) -> str | None:
    """What is wrong with an address, None where it can be one. Says nothing of its secret part."""
    try:
        parts = urlsplit(address)
        host, path = parts.hostname, parts.path
    except ValueError:
        return "it is no address"
    if not host or "/webhooks/" not in path:
        return "it does not look like https://discord.com/api/webhooks/NUMBER/TOKEN"
    if parts.scheme != "https" and host not in _LOOPBACK:
        return "it must begin with https://, for it is a secret"
    return None


class DiscordChannel:
    """One webhook."""

    def __init__(self, address: str, gates: Gates, client: httpx.AsyncClient | None = None) -> None:
        self._address = address
        self._gates = gates
        self._wrong = check_webhook(address)
        self._client = client or httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False)

    async def close(self) -> None:
        await self._client.aclose()

    def wait_s(self) -> float:
        return self._gates.wait_s(self._address)

    async def send(self, notice: Notice) -> Reply:
        if self._wrong is not None:
            return Refused(f"the webhook's address is wrong: {self._wrong}")
        try:
            async with asyncio.timeout(_WHOLE_S):
                reply = await self._post(notice)
        except (httpx.TimeoutException, TimeoutError):
            return TryAgain("Discord did not answer in time")
        except httpx.ConnectError:
            return TryAgain("no connection to Discord")
        except httpx.TransportError:
            return TryAgain("the connection to Discord was dropped")
        except httpx.HTTPError as error:
            return TryAgain(f"the talk with Discord failed ({type(error).__name__})")
        except (httpx.InvalidURL, UnicodeError, ValueError):
            return Refused("the webhook's address is wrong: it is no address")
        self._heed(reply)
        return self._judge(reply)

    async def _post(self, notice: Notice) -> httpx.Response:
        # Merged: the address may hold a thread_id.
        url = httpx.URL(self._address).copy_merge_params({"wait": "true"})
        async with self._client.stream("POST", url, **_body(notice)) as reply:
            try:
                await reply.aread()
            except httpx.DecodingError:
                # A proxy's garbled body: the status still tells whether the message was taken.
                headers = [(name, value) for name, value in reply.headers.items() if name in _TELLING]
                return httpx.Response(reply.status_code, headers=headers)
            return reply

    def _heed(self, reply: httpx.Response) -> None:
        """Closes the gate for as long as Discord's headers say."""
        if reply.status_code == httpx.codes.TOO_MANY_REQUESTS:
            seconds = self._retry_after(reply)
            if reply.headers.get("X-RateLimit-Global", "").lower() == "true" or _json(reply).get("global"):
                self._gates.close_all(seconds)
            self._gates.close(self._address, seconds)
        elif reply.headers.get("X-RateLimit-Remaining") == "0":
            self._gates.close(self._address, _seconds(reply.headers.get("X-RateLimit-Reset-After"), 0.0))

    def _judge(self, reply: httpx.Response) -> Reply:
        status = reply.status_code
        if status in (httpx.codes.OK, httpx.codes.NO_CONTENT):
            return Sent(f"message {_json(reply).get('id', 'without a number')}")
        if status == httpx.codes.TOO_MANY_REQUESTS:
            seconds = self._retry_after(reply)
            return TryAgain(f"Discord answered 429: wait {seconds:g} s", seconds)
        if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.REQUEST_TIMEOUT:
            return TryAgain(f"Discord answered {status}")
        said = scrubbed(str(_json(reply).get("message", "")), self._address)
        advice = {
            401: "the webhook's token is wrong: make a new webhook and put its address into the variable",
            404: "there is no such webhook (any more): make a new one and put its address into the variable",
        }.get(status, "")
        told = "; ".join(part for part in (said, advice) if part)
        at_fault = status in (httpx.codes.BAD_REQUEST, httpx.codes.REQUEST_ENTITY_TOO_LARGE)
        return Refused(f"Discord answered {status}" + (f": {told}" if told else ""), of_message=at_fault)

    def _retry_after(self, reply: httpx.Response) -> float:
        stated = reply.headers.get("Retry-After") or _json(reply).get("retry_after")
        return _seconds(stated, _DEFAULT_WAIT_S)


def _body(notice: Notice) -> dict[str, Any]:
    payload = json.dumps({"embeds": notice.embeds, "allowed_mentions": {"parse": []}})
    if not notice.files:
        return {"content": payload, "headers": {"Content-Type": "application/json"}}
    files = {f"files[{i}]": (one.name, one.content, one.kind) for i, one in enumerate(notice.files)}
    return {"data": {"payload_json": payload}, "files": files}


def _json(reply: httpx.Response) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = reply.json()
        if isinstance(found, dict):
            return found
    return {}


def _seconds(stated: object, otherwise: float) -> float:
    """A header's or body's number of seconds, within reason."""
    try:
        seconds = float(str(stated))
    except ValueError:
        return otherwise
    return min(max(seconds, 0.0), _LONGEST_WAIT_S) if seconds == seconds else otherwise
