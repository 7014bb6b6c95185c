"""Discord's webhooks, and a service of apprise's json:// kind, played on loopback."""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "tOkEn-nobody-may-see-it-8f2k"  # noqa: S105 - looked for where it must not be
"""The secret part of every webhook here."""


@dataclass
class Received:
    """One message that arrived."""

    hook: str
    embed: dict[str, Any]
    files: dict[str, bytes]
    alerts: list[tuple[int, int]]
    """(alert, attempt) of each alert it tells of."""
    embeds: int = 1


@dataclass
class StandIn:
    """Answers what its script says, one step a request, then takes everything.

    Steps: 'ok', '429:SECONDS', '429-global:SECONDS', 'last:SECONDS' (taken, the window then closed), '500',
    '401', '404', 'slow:SECONDS', 'hang', 'drop', 'take-and-drop' (it arrived, the answer is lost), 'garbled'
    (it arrived, the answer cannot be unpacked), 'held:STEP' (STEP, but not before `let_go` is set).
    `default` is what a hook answers when its steps are used up.
    """

    port: int = 0
    received: list[Received] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    requests: list[tuple[str, str, float]] = field(default_factory=list)
    """(hook, step, loop time) of each request."""
    scripts: dict[str, deque[str]] = field(default_factory=dict)
    default: dict[str, str] = field(default_factory=dict)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    spoiled: dict[str, str] = field(default_factory=dict)
    """What a message with this word is answered, always: '500', or '413:file' where a file comes with it."""
    posts: list[dict[str, Any]] = field(default_factory=list)
    """What the json:// service was sent."""
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    unanswered: list[int] = field(default_factory=list)
    """Alerts that arrived and whose answer was lost."""

    def hook(self, name: str, *steps: str, default: str = "ok") -> str:
        """A webhook's address; what it answers."""
        self.scripts[name] = deque(steps)
        self.default[name] = default
        return f"http://127.0.0.1:{self.port}/api/webhooks/{name}/{TOKEN}"

    def alerts(self, hook: str) -> list[int]:
        """Alerts told on a hook, in order, repetitions too."""
        return [alert for one in self.received if one.hook == hook for alert, _ in one.alerts]

    async def until(self, holds: Any, timeout_s: float = 60.0) -> None:
        async with asyncio.timeout(timeout_s), self.arrived:
            await self.arrived.wait_for(holds)

    async def execute(self, request: web.Request) -> web.StreamResponse:
        hook = request.match_info["hook"]
        script = self.scripts[hook]
        step = script.popleft() if script else self.default[hook]
        kind, _, seconds = step.partition(":")
        self.queries.append(request.query_string)
        self.requests.append((hook, step, asyncio.get_running_loop().time()))
        async with self.arrived:
            self.arrived.notify_all()
        if kind == "held":
            await self.let_go.wait()
            kind, _, seconds = seconds.partition(":")
        match kind:
            case "429" | "429-global":
                shared = kind == "429-global"
                headers = {"Retry-After": seconds, **({"X-RateLimit-Global": "true"} if shared else {})}
                body = {
                    "message": "You are being rate limited.",
                    "retry_after": float(seconds),
                    "global": shared,
                }
                return web.json_response(body, status=429, headers=headers)
            case "500":
                return web.Response(status=500, text="upstream")
            case "401" | "404":
                # Discord itself never repeats the token; a proxy in between may.
                return web.json_response({"message": f"Unknown Webhook {TOKEN}"}, status=int(kind))
            case "slow":
                await asyncio.sleep(float(seconds))
            case "hang":
                await asyncio.sleep(3_600)
            case "drop":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
        refused = await self._take(hook, request)
        if refused is not None:
            return web.json_response({"message": "Invalid Form Body"}, status=refused)
        if kind == "take-and-drop":
            self.unanswered += [alert for alert, _ in self.received[-1].alerts]
            assert request.transport is not None
            request.transport.abort()
        headers = {}
        if kind == "garbled":
            return web.Response(body=b"no gzip", headers={"Content-Encoding": "gzip"})
        if kind == "last":
            headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": seconds}
        return web.json_response({"id": str(10_000 + len(self.received))}, headers=headers)

    async def _take(self, hook: str, request: web.Request) -> int | None:
        """The status where the message is spoiled."""
        assert request.query["wait"] == "true"
        files: dict[str, bytes] = {}
        if request.content_type == "multipart/form-data":
            form = await request.post()
            payload = json.loads(str(form["payload_json"]))
            for part in form.values():
                if isinstance(part, web.FileField):
                    files[part.filename] = part.file.read()
        else:
            payload = await request.json()
        assert payload["allowed_mentions"] == {"parse": []}
        for word, answer in self.spoiled.items():
            status, _, when = answer.partition(":")
            if word in str(payload) and (files or not when):
                return int(status)
        embeds = payload["embeds"]
        told = [pair for embed in embeds for pair in told_in(embed, files)]
        self.received.append(Received(hook, embeds[0], files, told, len(embeds)))
        async with self.arrived:
            self.arrived.notify_all()
        return None

    async def post(self, request: web.Request) -> web.Response:
        self.posts.append(await request.json())
        async with self.arrived:
            self.arrived.notify_all()
        return web.json_response({})


def told_in(embed: dict[str, Any], files: dict[str, bytes]) -> list[tuple[int, int]]:
    """(alert, attempt) of each alert in a message: a single's footer, or a digest's lines."""
    footer = re.search(r"alert (\d+) · attempt (\d+)", embed["footer"]["text"])
    if footer:
        return [(int(footer[1]), int(footer[2]))]
    text = files["alerts.txt"].decode() if "alerts.txt" in files else embed.get("description", "")
    found = re.findall(r"· alert (\d+)(?: · attempt (\d+))?", text)
    return [(int(alert), int(attempt or 1)) for alert, attempt in found]


@asynccontextmanager
async def playing() -> AsyncIterator[StandIn]:
    played = StandIn()
    app = web.Application(client_max_size=10 << 20)
    app.router.add_post("/api/webhooks/{hook}/{token}", played.execute)
    app.router.add_post("/json", played.post)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    played.port = runner.addresses[0][1]
    try:
        yield played
    finally:
        await runner.cleanup()
