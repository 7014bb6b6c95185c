"""The Celery app that runs Dagster's runs, one worker process per queue.

    celery -A livermore_dagster.platform.celery_app worker -n boundary@%h -Q boundary -c 2 ...
    celery -A livermore_dagster.platform.celery_app worker -n batch@%h    -Q batch    -c 2 ...
    celery -A livermore_dagster.platform.celery_app worker -n ingest@%h   -Q ingest   -c 6 ...

each with `--without-gossip --without-mingle`, the LIVERMORE_* settings, LIVERMORE_CELERY_URL and DAGSTER_HOME
in the environment. Definitions and storage are loaded before the pool forks, so that a run finds them warm.
SIGTERM waits for running tasks: end ingest runs first (`platform.runs.cancel_runs`).
"""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from typing import Any

from celery import Celery
from celery.signals import celeryd_init, task_prerun
from dagster import DagsterInstance
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task, create_task
from dagster_postgres.utils import DagsterPostgresException
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from livermore_dagster.platform.config import Settings
from livermore_dagster.platform.dagster_yaml import BATCH_QUEUE, CELERY_URL, INGEST_QUEUE
from livermore_dagster.platform.logging import configure, get_logger
from livermore_dagster.platform.run_process import note_process
from livermore_dagster.stores.redis.client import connect

__all__ = ["app", "execute_job", "execute_plan", "resume_job"]

DEFINITIONS = "livermore_dagster.definitions"
HEAVY = (
    "pandas",
    "ta.momentum",
    "ta.trend",
    "ta.volatility",
    "ta.volume",
    "livermore_dagster.exchanges.factory",
    "livermore_dagster.trades.conversion",
    "livermore_dagster.trades.history",
    "livermore_dagster.trades.reports",
    "livermore_dagster.trades.standing",
)
"""What batch and boundary assets import inside their functions; ingest stays without."""


def _make() -> Celery:
    url = os.environ.get(CELERY_URL)
    made: Celery = make_app(  # type: ignore[no-untyped-call]
        {"broker": url, "backend": url, "task_default_queue": BATCH_QUEUE}
    )
    made.conf.update(
        worker_prefetch_multiplier=1,
        result_expires=0,  # a STARTED result that expires makes run monitoring fail a healthy run
        task_acks_late=False,  # an ingest run delivered twice would be two instances
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_transport_options={"socket_keepalive": True},
    )
    return made


app = _make()
execute_plan = create_task(app)  # type: ignore[no-untyped-call]
execute_job = create_execute_job_task(app)
resume_job = create_resume_job_task(app)


def _queues(options: dict[str, Any]) -> str:
    """'ingest', or 'boundary-batch' for a worker of both."""
    found = options.get("queues") or BATCH_QUEUE
    return found.replace(",", "-") if isinstance(found, str) else "-".join(found)


@celeryd_init.connect  # type: ignore[untyped-decorator]
def _warm(options: dict[str, Any] | None = None, **_: object) -> None:
    """Load in the parent what every child would load for its first run; log as JSON lines."""
    queues = _queues(options or {})
    configure(Settings.discover().home, f"runs-{queues}")
    definitions = importlib.import_module(DEFINITIONS)
    definitions.defs.get_repository_def().get_all_jobs()
    # Opening the instance imports its storage; the connection it makes is closed before the pool forks. Where
    # PostgreSQL is away the imports are done all the same, and the first run comes later anyway.
    with suppress(SQLAlchemyError, DagsterPostgresException), DagsterInstance.get() as instance:
        instance.get_runs_count()
    if INGEST_QUEUE not in queues:
        for name in HEAVY:
            importlib.import_module(name)


@task_prerun.connect  # type: ignore[untyped-decorator]
def _note(task_id: str, **_: object) -> None:
    """In the process that will work on the run: run monitoring sees when it is gone."""
    try:
        with connect(Settings.discover().redis_url) as client:
            note_process(client, task_id)
    except RedisError as error:
        # Without the note a death is seen later, by the run's time limit.
        get_logger(__name__).warning("run_process_unnoted", task=task_id, error=str(error))
