"""`livermore up`: starts everything in order, keeps it alive, stops it. One thread; screens look on."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.platform import children
from livermore_dagster.platform.addresses import Doors, free_port_range, read_doors, rows_for_simulation
from livermore_dagster.platform.autostart import Autostart, decide_autostart, want_autostart
from livermore_dagster.platform.canceller import Canceller
from livermore_dagster.platform.child import Child, ChildSpec, ChildState
from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.dagster_yaml import (
    dagster_database_url,
    dagster_environment,
    ensure_dagster_database,
    write_dagster_yaml,
)
from livermore_dagster.platform.demo_accounts import demo_environment, register_demo_accounts
from livermore_dagster.platform.guard import Guard
from livermore_dagster.platform.home import Home, check_port
from livermore_dagster.platform.log_rotation import rotate_logs
from livermore_dagster.platform.metrics_server import MetricsServer, free_metrics_port, process_facts
from livermore_dagster.platform.network import Network
from livermore_dagster.platform.options import UpOptions
from livermore_dagster.platform.platform_record import write_platform_record
from livermore_dagster.platform.processes import (
    TOKEN,
    ProcessId,
    RunRecord,
    end_processes,
    read_record,
    write_record,
)
from livermore_dagster.platform.servers import (
    Servers,
    check_redis,
    local_user,
    prepare_database,
    write_rows,
)
from livermore_dagster.platform.simulation import anchor_market
from livermore_dagster.stores.postgres.connect import conninfo

__all__ = ["Supervisor"]

TICK_S = 0.1
LOGS_S = 10.0
PATIENCE_S = 3.0
"""What a process is given to end before it is killed …"""
IDLE_PATIENCE_S = 0.5
"""… and where nothing runs that its end could lose."""
SERVERS_BY_S = 6.5
"""After so long the servers are told to end, which may take the rest of ten seconds."""
LEAST_S = 0.3
Tell = Callable[[str], None]


@dataclass
class Supervisor:
    """One platform from its checks to its end. `tell` gets a line for each step."""

    options: UpOptions
    tell: Tell
    children: list[Child] = field(default_factory=list)
    doors: dict[str, Doors] = field(default_factory=dict)
    rows: tuple[ExchangeRow, ...] = ROWS
    errors: list[str] = field(default_factory=list)
    stopping: bool = False
    metrics: MetricsServer | None = None

    def __post_init__(self) -> None:
        self.home = Home(self.options.home)
        self.servers = Servers(self.home, self.options)
        self.settings: Settings = self.servers.settings()
        self.token = uuid.uuid4().hex
        self.autostart = Autostart()
        self.started_wall = time.time()
        self._guard = Guard(self.home.record, self.tell)
        self.network = Network(self.settings, self.token, self.children, self.tell, self._note_children)
        self._canceller = Canceller(self.home.logs, self._dagster_environment)
        self._hurry = False
        self._logs_seen = float("-inf")

    # --- start

    def start(self, look: Callable[[], None] = lambda: None) -> None:
        """Everything up and ready, or an error and nothing left running. After `check`."""
        try:
            self._start_all(look)
        except BaseException:
            self.stop(look)
            raise

    def check(self) -> None:
        """What can be refused before anything runs; holds the home."""
        self.home.prepare()
        self.home.lock()
        try:
            self._clear_leftovers()
            check_port(self.options.port, "--port")
            if self.options.metrics_port is not None:
                check_port(self.options.metrics_port, "--metrics-port")
            self.home.stamp(self.options.provenance)
            if self.options.simulate:
                anchor_market(self.home, self.options)
        except BaseException:
            self.home.unlock()
            raise

    def _clear_leftovers(self) -> None:
        """What an `up` that was killed may have left, should its guardian have been killed too."""
        record = read_record(self.home.record)
        if record is None:
            return
        ended = end_processes(record)
        if ended:
            self.tell(f"Ended what a killed start had left: {', '.join(ended)}.")
        self.home.record.unlink(missing_ok=True)

    def _start_all(self, look: Callable[[], None]) -> None:
        self._guard.keep()
        if self.options.simulate:
            self.tell(
                f"SIMULATED: seed {self.options.seed}, {self.options.speed:g}×. No real exchange is met."
            )
            if self.options.storm is not None:
                self.tell(f"STORM {self.options.storm}: ten minutes of faults, the last quarter calm.")
        base_environment = children.child_environment({**self.settings.environment(), TOKEN: self.token})
        first = self.servers.specs(self.token)
        if self.options.join is not None:
            self.tell(f"The simulated exchanges are played elsewhere: {self.options.join.path}.")
        elif self.options.simulate:
            port = free_port_range(len(ROWS))
            first.append(children.simulator(self.home, self.options, port, base_environment))
        self._bring_up(first, look)
        self._prepare_data()
        self._observe()
        self._write_platform_json()
        self._start_dagster(look)
        self._write_platform_json()
        self._canceller.stand_by()

    def _prepare_data(self) -> None:
        check_redis(self.settings)
        self.network.join()
        if self.options.database_url is None:
            self.servers.postgres.ensure_database()
        fresh = prepare_database(self.settings)
        self.tell("Database made from schema.sql." if fresh else "Database is what schema.sql says.")
        if self.options.simulate:
            joined = self.options.join
            self.doors = joined.doors if joined else read_doors(self.home.run / "simulator.json")
            self.rows = rows_for_simulation(ROWS, self.doors)
        write_rows(self.settings, self.rows)
        self._find_user()
        if self.options.accounts:
            registered = register_demo_accounts(self.settings, self.doors)
            self.tell(f"Simulated accounts: {', '.join(registered) or 'registered before'}.")
        self.autostart = decide_autostart(self.options, self.settings, self.tell)
        want_autostart(self.autostart, self.options, self.settings, self.rows)

    def _find_user(self) -> None:
        user, made = local_user(self.settings)
        if user is not None and self.settings.user is None:
            self.settings = replace(self.settings, user=user.sub)
        if user is not None and made:
            self.tell(f"First start: {user.sub} is its admin. Others: livermore user add.")

    def _observe(self) -> None:
        """One port on loopback for metrics and health of all processes."""
        speed = self.options.speed if self.options.simulate else 1.0
        self.metrics = MetricsServer(
            self.settings,
            lambda: self.rows,
            lambda: process_facts(self.children),
            free_metrics_port(self.options.metrics_port),
            speed=speed,
        )
        self.metrics.start()
        self.tell(f"Metrics and health at {self.metrics.url}/metrics and /health.")

    def _start_dagster(self, look: Callable[[], None]) -> None:
        ensure_dagster_database(self.settings.database_url, self.settings.database_ca)
        write_dagster_yaml(self.home.path)
        workspace = children.write_workspace(self.home)
        environment = self._dagster_environment()
        database = dagster_database_url(self.settings.database_url)
        address = conninfo(database, self.settings.database_ca)
        # One process makes Dagster's tables; the others would race it.
        first = [children.code_server(self.home, environment), children.notifier(self.home, environment)]
        self._bring_up(first, look, wait=False)
        workers = [children.worker(self.home, queue, slots, environment) for queue, slots in children.WORKERS]
        self._bring_up(workers, look, wait=False)
        self._wait_ready(look, only=("code server",))
        self.network.begin(
            lambda: children.daemon(self.home, workspace, address, environment),
            lambda row: children.standby(self.home, row.name, environment),
            [row for row in self.rows if row.active],
            [row.name for row in self.autostart.exchanges],
        )
        web = children.web_server(self.home, workspace, self.options.port, environment)
        self._bring_up([web], look)

    def _bring_up(self, specs: Sequence[ChildSpec], look: Callable[[], None], *, wait: bool = True) -> None:
        fresh = [Child(spec) for spec in specs]
        for child in fresh:
            self.children.append(child)
            child.start()
            self._record()
        if wait:
            self._wait_ready(look)

    def _wait_ready(self, look: Callable[[], None], only: tuple[str, ...] = ()) -> None:
        told: set[str] = {child.spec.name for child in self.children if child.state is ChildState.READY}
        while True:
            self.tick()
            look()
            for child in self.children:
                if child.state is ChildState.READY and child.spec.name not in told:
                    told.add(child.spec.name)
                    self.tell(f"{child.spec.name} ready after {time.monotonic() - child.started_at:.1f} s")
            waited = [child for child in self.children if not only or child.spec.name in only]
            if all(child.state is ChildState.READY for child in waited):
                return
            if self.stopping:
                raise KeyboardInterrupt
            time.sleep(TICK_S)

    # --- life

    def tick(self) -> None:
        """Notice deaths and restart; PlatformError when a child cannot be kept alive."""
        for child in [child for child in self.children if child.spec.essential]:
            if child.look():
                self.tell(f"{child.spec.name} died (exit code {child.exit_code}); restarted.")
                self.errors.append(
                    f"{child.spec.name} died with exit code {child.exit_code} and was restarted"
                )
                child.restart()
                self._note_children()
        self.network.look()
        self._guard.keep()
        if time.monotonic() - self._logs_seen >= LOGS_S:
            self._logs_seen = time.monotonic()
            rotate_logs(self.home.logs)

    def request_stop(self) -> None:
        """From a signal handler: stop soon; a second time: without patience."""
        self._hurry = self.stopping
        self.stopping = True

    # --- stop

    def stop(self, look: Callable[[], None] = lambda: None) -> None:
        """Runs first, then everything; nothing is left running. Within 10 s."""
        self.stopping = True
        self.tell("Stopping.")
        look()
        begun = time.monotonic()
        by = begun + SERVERS_BY_S
        # The daemon's keeper would start runs anew. A worker that was told to stop no longer hears of a
        # cancelled run, so workers come after the runs.
        self.network.rest()
        standbys = self.network.standbys  # one may be its exchange's instance by now
        names = [child.spec.name for child in standbys]
        self._signal(signal.SIGTERM, "daemon", "web server", "notifier", *names)
        # Without runs there is nothing that Celery's slow farewell could save.
        idle = not self._hurry and self._alive("worker ingest") and self._cancel_runs()
        self._canceller.end()
        self._signal(signal.SIGKILL, "code server", "web server")  # they hold nothing, and may take long
        self._end(standbys, PATIENCE_S, by)
        others = [child for child in self.children if child.spec.name not in ("valkey", "postgresql")]
        self._end(others, IDLE_PATIENCE_S if idle or self._hurry else PATIENCE_S, by)
        self.network.leave()
        self._end(
            [child for child in self.children if child.spec.name in ("valkey", "postgresql")], PATIENCE_S
        )
        left = RunRecord(self.token, ProcessId.of("up", os.getpid()), self._ids())
        end_processes(left, patience_s=0.2)
        for child in self.children:
            child.ended()
        self._guard.dismiss()
        self.home.platform_json.unlink(missing_ok=True)
        self.home.record.unlink(missing_ok=True)
        self.home.unlock()
        self.tell(f"Stopped in {time.monotonic() - begun:.1f} s.")

    def _cancel_runs(self) -> bool:
        """Whether all have ended, so that their workers hold nothing."""
        ended = self._canceller.cancel_runs()
        if not ended:
            self.tell("Runs did not end in time; their workers are ended instead.")
        return ended

    def _dagster_environment(self) -> dict[str, str]:
        return children.child_environment(
            {
                **self.settings.environment(),
                **dagster_environment(self.settings),
                **demo_environment(self.settings.provenance),
                TOKEN: self.token,
            }
        )

    def _alive(self, name: str) -> bool:
        return any(child.spec.name == name and child.running for child in self.children)

    def _signal(self, number: signal.Signals, *names: str) -> None:
        for child in self.children:
            if child.spec.name in names:
                child.signal(number)

    def _end(self, some: Sequence[Child], patience: float, by: float | None = None) -> None:
        """Told to end, killed after `patience` seconds, or at the moment `by` where that is sooner."""
        for child in some:
            child.signal(signal.SIGINT if child.spec.name == "postgresql" else signal.SIGTERM)
        now = time.monotonic()
        deadline = now + patience if by is None else min(now + patience, max(by, now + LEAST_S))
        while any(child.running for child in some) and time.monotonic() < deadline:
            time.sleep(0.02)
        for child in some:
            if child.running:
                if patience == PATIENCE_S:
                    self.tell(f"{child.spec.name} did not stop within {deadline - now:.1f} s: killed.")
                child.signal(signal.SIGKILL)

    # --- records

    def _note_children(self) -> None:
        self._record()
        self._write_platform_json()

    def _ids(self) -> tuple[ProcessId, ...]:
        return tuple(child.process_id for child in self.children if child.process_id is not None)

    def _record(self) -> None:
        up = ProcessId.of("up", os.getpid())
        write_record(self.home.record, RunRecord(self.token, up, self._ids()))

    def _write_platform_json(self) -> None:
        facts = {
            "redis_url": self.settings.redis_url,
            "database_url": self.settings.database_url,
            "provenance": self.settings.provenance,
            "database_ca": str(self.settings.database_ca) if self.settings.database_ca else None,
            "user": self.settings.user,
            "metrics_url": self.metrics.url if self.metrics is not None else None,
            "web_url": f"http://127.0.0.1:{self.options.port}",
            "speed": self.options.speed if self.options.simulate else 1.0,
            "doors": {name: vars(door) for name, door in self.doors.items()},
        }
        write_platform_record(self.home.platform_json, facts, self.children)
