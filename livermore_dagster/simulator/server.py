"""The simulated exchanges as running servers: one port each for REST, WebSocket and the control door."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import socket
import ssl
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from livermore_dagster.errors import BadSetting, PortInUse, UnknownExchange
from livermore_dagster.simulator.accounts.directory import Accounts
from livermore_dagster.simulator.accounts.door import account_door
from livermore_dagster.simulator.accounts.opening import open_accounts
from livermore_dagster.simulator.binance_feed import WS_API_PATH, BinanceFeed
from livermore_dagster.simulator.binance_rest import BINANCE, BINANCE_US, BinanceRest
from livermore_dagster.simulator.clock import MarketClock, RunningClock, load_anchor
from livermore_dagster.simulator.coinbase_feed import CoinbaseFeed
from livermore_dagster.simulator.coinbase_rest import CoinbaseRest
from livermore_dagster.simulator.control import CONTROL_BODY_LIMIT, control_routes
from livermore_dagster.simulator.edge import edge_of
from livermore_dagster.simulator.events import Event
from livermore_dagster.simulator.fault_kinds import ACTS
from livermore_dagster.simulator.faults import Fault, FaultBoard
from livermore_dagster.simulator.feed import Feed, FeedSettings
from livermore_dagster.simulator.recorded import RecordedFile, Series, read_series
from livermore_dagster.simulator.rest import Rest
from livermore_dagster.simulator.storm import Storm, storm_plan
from livermore_dagster.simulator.universe import EXCHANGES
from livermore_dagster.simulator.venue import INTERVALS, Venue

__all__ = ["PlayedExchange", "Simulator"]


class PlayedExchange:
    """One exchange: its books, its REST interface, its socket, its faults and counters."""

    def __init__(self, name: str, seed: int, clock: MarketClock, symbols: int, *, coinbase_4h: bool) -> None:
        self.name = name
        self.faults = FaultBoard(name, clock.now_ms)
        self.counters: Counter[str] = Counter()
        self.events_file: Path | None = None
        self._acts: set[asyncio.Task[None]] = set()
        self.venue = Venue(name, seed, clock, fills=name != "coinbase", symbols=symbols)
        self.accounts = Accounts(self.venue)
        self.feed: Feed
        self.rest: Rest
        about = self.venue, self.faults, self.counters
        match name:
            case "binance":
                rules = FeedSettings(messages_per_s=5, connections=300, connections_per_s=300.0, update_s=2.0)
                self.feed = BinanceFeed(*about, rules)
                self.rest = BinanceRest(*about, BINANCE)
            case "binance_us":
                rules = FeedSettings(
                    messages_per_s=5,
                    connections=300,
                    connections_per_s=300.0,
                    update_s=2.0,
                    ping_s=180.0,
                    pong_s=600.0,
                )
                self.feed = BinanceFeed(*about, rules)
                self.rest = BinanceRest(*about, BINANCE_US)
            case "coinbase":
                rules = FeedSettings(
                    messages_per_s=8,
                    connections=8,
                    connections_per_s=1.0,
                    update_s=1.0,
                    subscribe_within_s=5.0,
                    quiet_s=90.0,
                )
                self.feed = CoinbaseFeed(*about, rules)
                self.rest = CoinbaseRest(*about, four_hour=coinbase_4h)
            case _:
                raise UnknownExchange(name, EXCHANGES)
        self._account_routes = open_accounts(self.accounts, self.rest, self.feed)

    @property
    def speed(self) -> float:
        return float(getattr(self.venue.clock, "speed", 1.0))

    def settings(self) -> dict[str, Any]:
        """What the control door may read and change. Seconds are real."""
        rules = self.feed.settings
        shared: dict[str, Any] = {
            "lifetime_s": rules.lifetime_s,
            "ping_s": rules.ping_s,
            "pong_s": rules.pong_s,
            "update_s": rules.update_s,
            "beat_s": rules.beat_s,
            "messages_per_s": rules.messages_per_s,
        }
        if isinstance(self.rest, BinanceRest):
            window = self.rest.window
            return {
                **shared,
                "listen_key_s": self._listen_key_s(),
                "weight_limit": window.limit,
                "raw_limit": window.raw_limit,
                "under_way_s": window.under_way_s,
                "refusals": window.refusals,
                "ban_s": window.ban_s,
            }
        if isinstance(self.rest, CoinbaseRest):
            bucket = self.rest.bucket
            return {
                **shared,
                "rate": bucket.rate,
                "burst": bucket.burst,
                "private_rate": self.rest.private_rate,
                "four_hour": self.rest.four_hour,
            }
        return shared

    def _listen_key_s(self) -> float:
        users = self.feed.users if isinstance(self.feed, BinanceFeed) else None
        return 0.0 if users is None else users.life_s

    def change(self, wanted: Mapping[str, Any]) -> None:
        """Sets what `settings` names; the caller has checked names and types."""
        for name, value in wanted.items():
            owner: Any = self.feed.settings
            if isinstance(self.rest, BinanceRest) and name in (
                "weight_limit",
                "raw_limit",
                "under_way_s",
                "refusals",
                "ban_s",
            ):
                owner = self.rest.window
            elif isinstance(self.rest, CoinbaseRest) and name in ("rate", "burst"):
                owner = self.rest.bucket
            elif name in ("four_hour", "private_rate"):
                owner = self.rest
            elif name == "listen_key_s" and isinstance(self.feed, BinanceFeed):
                owner, name = self.feed.users, "life_s"
            setattr(owner, "limit" if name == "weight_limit" else name, value)
        self.feed.beat_anew()

    def order(self, wanted: Mapping[str, Any]) -> Fault:
        """Takes an order; what is done once is done at its time. Raises BadFault."""
        fault = self.faults.order(wanted, self.venue.listings)
        if fault.kind in ACTS:
            task = asyncio.get_running_loop().create_task(self._act_in_time(fault))
            self._acts.add(task)
            task.add_done_callback(self._acts.discard)
        return fault

    def befall(self, wanted: Mapping[str, Any]) -> Event:
        """Takes an event of the market, and keeps it for the next start. Raises BadEvent."""
        event = self.venue.befall(wanted, self.venue.clock.now_ms())
        if self.events_file is not None:
            kept = [known.as_json() for known in self.venue.fate.events]
            self.events_file.write_text(json.dumps(kept))
        return event

    def recall(self, path: Path) -> None:
        """The market's events of earlier starts, from now on kept at `path`."""
        self.events_file = path
        if path.exists():
            for wanted in json.loads(path.read_text()):
                self.venue.befall(wanted, 0)

    def storm(self, storm: Storm) -> list[dict[str, Any]]:
        """Orders a storm from now on; its plan. Raises BadFault."""
        plan = storm_plan(storm, self.name, self.venue.listings.values())
        for wanted in plan:
            self.order(wanted)
        return plan

    async def _act_in_time(self, fault: Fault) -> None:
        await asyncio.sleep(max(0.0, fault.begins - time.monotonic()))
        while fault.from_ms is not None and self.venue.clock.now_ms() < fault.from_ms:
            await self.venue.clock.wait_until(fault.from_ms, 1.0)
        await self.feed.act(fault)

    async def forgo(self) -> None:
        """Drops what is still to be done."""
        acts = list(self._acts)
        for task in acts:
            task.cancel()
        await asyncio.gather(*acts, return_exceptions=True)

    def application(self) -> web.Application:
        application = web.Application(client_max_size=CONTROL_BODY_LIMIT, middlewares=[edge_of(self.rest)])
        application.add_routes(control_routes(self))
        application.add_routes(account_door(self.accounts))
        application.add_routes(self.rest.routes())
        application.add_routes(self._account_routes)
        binance = ("/ws", "/ws/{streams:.*}", "/stream", WS_API_PATH)
        paths = ("/",) if self.name == "coinbase" else binance
        application.add_routes([web.get(path, self.feed.handle) for path in paths])
        return application


class Simulator:
    """Simulated exchanges on loopback, as an asynchronous context manager.

    `speed`: market seconds per real second; `start_ms`: market time of the first start (default: now);
    `base_port` 0 takes free ports, otherwise exchange i listens on base_port + i; `tls`: certificate and key
    files; `recorded`: series played instead of drawn markets. Give a `clock` (clock.ManualClock) to move
    market time by hand instead.
    """

    def __init__(
        self,
        exchanges: Sequence[str] = EXCHANGES,
        *,
        seed: int = 1,
        speed: float = 1.0,
        start_ms: int | None = None,
        anchor: Path | None = None,
        base_port: int = 0,
        tls: tuple[Path, Path] | None = None,
        symbols: int = 40,
        clock: MarketClock | None = None,
        coinbase_4h: bool = True,
        recorded: Sequence[RecordedFile] = (),
        host: str = "127.0.0.1",
    ) -> None:
        for name in exchanges:
            if name not in EXCHANGES:
                raise UnknownExchange(name, EXCHANGES)
        if not 0 < speed <= 3600:
            raise BadSetting(f"--speed must lie above 0 and at most 3600, not {speed:g}.")
        self._ssl = _tls_context(tls)
        self._host, self._base_port = host, base_port
        if clock is None:
            clock = RunningClock(load_anchor(anchor, seed, speed, start_ms, time.time_ns() // 1_000_000))
        self.clock, self.seed = clock, seed
        self.exchanges = {
            name: PlayedExchange(name, seed, clock, symbols, coinbase_4h=coinbase_4h)
            for name in dict.fromkeys(exchanges)
        }
        self._play_recorded(recorded)
        if anchor is not None:
            for name, played in self.exchanges.items():
                played.recall(anchor.with_name(f"{anchor.stem}.{name}.events.json"))
                played.accounts.recall(anchor.with_name(f"{anchor.stem}.{name}.accounts.jsonl"))
        self._ports: dict[str, int] = {}
        self._runners: list[web.AppRunner] = []
        self._beats: list[asyncio.Task[None]] = []

    def _play_recorded(self, files: Sequence[RecordedFile]) -> None:
        by_symbol: dict[tuple[str, str], list[Series]] = {}
        for file in files:
            if file.exchange not in self.exchanges:
                raise UnknownExchange(file.exchange, tuple(self.exchanges))
            series = read_series(file.path, file.symbol, INTERVALS[file.timeframe])
            by_symbol.setdefault((file.exchange, file.symbol), []).append(series)
        for (exchange, symbol), found in by_symbol.items():
            self.exchanges[exchange].venue.play_recorded(symbol, found)

    async def __aenter__(self) -> Self:
        try:
            for index, (name, played) in enumerate(self.exchanges.items()):
                await self._serve(name, played, self._base_port + index if self._base_port else 0)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _serve(self, name: str, played: PlayedExchange, port: int) -> None:
        runner = web.AppRunner(played.application(), access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, self._host, port, ssl_context=self._ssl, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
                raise BadSetting(
                    f"--host {self._host!r} is no address of this machine.", "`ip address` shows them."
                ) from error
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortInUse(
                f"Port {port} for the simulated {name} is in use.",
                "Choose another with --base-port, or 0 for any.",
            ) from error
        self._ports[name] = int(runner.addresses[0][1])
        self._beats.append(asyncio.create_task(played.feed.run(), name=f"feed-{name}"))

    async def close(self) -> None:
        """Ends all servers; open sockets are closed with a handshake."""
        for task in self._beats:
            task.cancel()
        for task in self._beats:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._beats.clear()
        await asyncio.gather(*(played.forgo() for played in self.exchanges.values()))
        await asyncio.gather(*(played.feed.close_all() for played in self.exchanges.values()))
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))
        self._runners.clear()

    async def failed(self) -> None:
        """Returns, by raising its error, when an exchange's beat has stopped on its own."""
        await asyncio.gather(*self._beats)

    def rest_url(self, name: str) -> str:
        return f"{'https' if self._ssl else 'http'}://{self._host}:{self._ports[name]}"

    def ws_url(self, name: str) -> str:
        return f"{'wss' if self._ssl else 'ws'}://{self._host}:{self._ports[name]}"

    def control_url(self, name: str) -> str:
        return f"{self.rest_url(name)}/control"

    def addresses(self) -> dict[str, dict[str, str]]:
        """rest_url, ws_url and control_url of each exchange."""
        return {
            name: {
                "rest_url": self.rest_url(name),
                "ws_url": self.ws_url(name),
                "control_url": self.control_url(name),
            }
            for name in self.exchanges
        }


def _tls_context(tls: tuple[Path, Path] | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(*tls)
    except (OSError, ssl.SSLError) as error:
        raise BadSetting(f"The certificate {tls[0]} with key {tls[1]} cannot be used: {error}.") from error
    return context
