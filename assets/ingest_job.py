"""The job `ingest`: one exchange's live service as a long-running run, visible and stoppable in Dagster."""

# Annotations are not postponed here: Dagster compares that of `context` as it stands.

from dataclasses import replace

import dagster as dg

from livermore_dagster.errors import LivermoreError
from livermore_dagster.exchanges.factory import require_active, row_named
from livermore_dagster.platform.dagster_yaml import INGEST_QUEUE
from livermore_dagster.platform.run_launcher import INGEST_JOB
from livermore_dagster.resources import EXCHANGES, IngestResource, PlatformResource
from livermore_dagster.stores.redis.desired import (
    Desired,
    read_desired_sync,
    write_desired_sync,
)

__all__ = ["ingest_job"]


@dg.op(
    description="Holds the exchange's claim, idle or streaming as is wanted, until it shall stop or loses it."
)
def stream_exchange(
    context: dg.OpExecutionContext, ingest: IngestResource, platform: PlatformResource
) -> None:
    name = context.partition_key
    try:
        row = require_active(row_named(name))
        if "dagster/sensor_name" not in context.run.tags:
            # Started by hand in the UI: that is a wish like any other, else the keeper would end it at once.
            client = platform.redis()
            known = read_desired_sync(client, row.id)
            wanted = replace(
                known or Desired("running"), state="running", user="dagster", reason="", paused=False
            )
            write_desired_sync(client, row.id, wanted)
        with ingest.serving(name, context.run_id) as service:
            context.log.info(f"{name} is claimed: idle until it is started, streaming then.")
            service.wait()
    except LivermoreError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    if service.error is not None:
        raise dg.Failure(f"{name} ended: {service.error}", allow_retries=False) from service.error
    context.log.info(f"{name} stopped as asked.")


@dg.job(
    name=INGEST_JOB,
    partitions_def=EXCHANGES,
    executor_def=dg.in_process_executor,
    description=(
        "Streams one exchange for as long as it shall run: candles, closes, MACD-V, alerts, "
        "boundaries. Started and "
        "replaced by the sensor ingest_keeper; terminating it here stops the exchange until it is "
        "started again."
    ),
    tags={"dagster-celery/queue": INGEST_QUEUE, "dagster/max_retries": "0"},
)
def ingest_job() -> None:
    stream_exchange()
