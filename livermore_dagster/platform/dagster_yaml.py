"""Dagster's own configuration: `<home>/dagster/dagster.yaml`, the environment it reads, and its database.

Dagster keeps its tables in a database of its own, `<ours>_dagster`, on the same server: schema drift in
ours is
then only ever about ours. Addresses stand in the environment, not in the file, because Dagster's web server
shows
the file and an address may hold a password (R8).
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg
import yaml
from psycopg import sql

from livermore_dagster.errors import PlatformError
from livermore_dagster.platform.config import Settings
from livermore_dagster.stores.postgres.connect import conninfo, sqlalchemy_url

__all__ = [
    "BATCH_QUEUE",
    "BOUNDARY_QUEUE",
    "CELERY_URL",
    "DAGSTER_DATABASE_URL",
    "INGEST_QUEUE",
    "QUEUES",
    "START_TIMEOUT_S",
    "celery_url",
    "dagster_database_url",
    "dagster_environment",
    "ensure_dagster_database",
    "write_dagster_yaml",
]

DAGSTER_DATABASE_URL = "LIVERMORE_DAGSTER_DATABASE_URL"
CELERY_URL = "LIVERMORE_CELERY_URL"
BOUNDARY_QUEUE = "boundary"
BATCH_QUEUE = "batch"
INGEST_QUEUE = "ingest"
QUEUES: tuple[str, ...] = (BOUNDARY_QUEUE, BATCH_QUEUE, INGEST_QUEUE)
START_TIMEOUT_S = 600
"""Real seconds after which a run that was submitted and has not begun is failed."""


def dagster_database_url(database_url: str) -> str:
    """Address of Dagster's own database on the server of `database_url`."""
    parts = urlsplit(database_url)
    name = parts.path.lstrip("/") or "postgres"
    return urlunsplit(parts._replace(path=f"/{name}_dagster"))


def ensure_dagster_database(database_url: str, ca: Path | None = None) -> str:
    """Create Dagster's database if it is absent; its address.

    `up` calls it after PostgreSQL is reachable and before anything of Dagster starts; Dagster makes its own
    tables. Raises PlatformError where the user may not create databases.
    """
    wanted = dagster_database_url(database_url)
    name = urlsplit(wanted).path.lstrip("/")
    with psycopg.connect(conninfo(database_url, ca), autocommit=True) as connection:
        # Two homes that start at once: the second waits here, and then finds it.
        connection.execute("SELECT pg_advisory_lock(hashtext('livermore dagster database'))")
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            return wanted
        try:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege:
            raise PlatformError(
                f"The database user may not create Dagster's database {name!r}.",
                f"Let an administrator run: CREATE DATABASE {name} OWNER {connection.info.user};",
            ) from None
    return wanted


def celery_url(redis_url: str) -> str:
    """The Redis address as Celery spells it: `redis+socket://` for a Unix socket."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    query = dict(parse_qsl(parts.query))
    query.setdefault("virtual_host", query.pop("db", "0"))
    credentials = parts.netloc  # user:password@ where the address has one
    return f"redis+socket://{credentials}{quote(parts.path)}?{urlencode(query)}"


def dagster_environment(settings: Settings) -> dict[str, str]:
    """What every process of the platform that runs Dagster needs beside the LIVERMORE_* settings."""
    return {
        "DAGSTER_HOME": str(settings.dagster_home),
        DAGSTER_DATABASE_URL: sqlalchemy_url(
            dagster_database_url(settings.database_url), settings.database_ca
        ),
        CELERY_URL: celery_url(settings.redis_url),
        # Dagster lets PostgreSQL stamp its runs with local time, and reads that as UTC.
        "PGTZ": "UTC",
    }


def write_dagster_yaml(home: Path) -> Path:
    """Write `<home>/dagster/dagster.yaml`; the folder it stands in (DAGSTER_HOME)."""
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(_document(), sort_keys=False, width=110)
    (folder / "dagster.yaml").write_text("# Written by `livermore up` at each start.\n" + text)
    return folder


def _document() -> dict[str, object]:
    return {
        "storage": {"postgres": {"postgres_url": {"env": DAGSTER_DATABASE_URL}}},
        # Capturing a run's output starts two interpreters a run, half of what a boundary run may take. What
        # our
        # runs say goes to the event log; what libraries print goes to the worker's log.
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        },
        "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
        "run_launcher": {
            "module": "livermore_dagster.platform.run_launcher",
            "class": "LivermoreRunLauncher",
            "config": {
                "broker": {"env": CELERY_URL},
                "backend": {"env": CELERY_URL},
                "default_queue": BATCH_QUEUE,
                # Celery's STARTED key lives 24 h by default; after that a healthy run would be marked
                # FAILURE.
                "config_source": {"result_expires": 0},
            },
        },
        # Submitting takes a fifth of a second a run: the exchanges of one boundary are not submitted in turn.
        "sensors": {"use_threads": True, "num_workers": 8, "num_submit_workers": 6},
        "run_monitoring": {
            "enabled": True,
            "poll_interval_seconds": 5,
            # The wait in a queue counts, and a first read of an account holds the batch queue for minutes:
            # whoever waits behind it has not failed. A lost ingest start is the keeper's to notice, sooner.
            "start_timeout_seconds": START_TIMEOUT_S,
            "cancel_timeout_seconds": 30,
            "max_resume_run_attempts": 0,
        },
        # Off unless a run's own tag asks for them: an ingest run is the keeper's to start again.
        "run_retries": {"enabled": True, "max_retries": 0},
        "retention": {
            "sensor": {"purge_after_days": {"skipped": 1, "success": 14, "failure": 30, "started": 30}}
        },
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }
