"""The job `audit`: asks the exchange for what settled since the last one, away from the boundaries' runs."""

from __future__ import annotations

from typing import Final

import dagster as dg

from assets.checks import checked_exchanges
from livermore_dagster.market.timeframe import TIMEFRAMES
from livermore_dagster.platform.dagster_yaml import BATCH_QUEUE
from livermore_dagster.resources import AUDIT_CHECK, AUDIT_JOB, check_key

__all__ = ["audit_job"]

LONGEST_S: Final = 7_200
"""Of one that hangs: 500 symbols at a request a second take 33 minutes, and twice that after a night."""

audit_job = dg.define_asset_job(
    name=AUDIT_JOB,
    selection=dg.AssetSelection.checks(
        *(
            check_key("candles", timeframe, AUDIT_CHECK, exchange)
            for timeframe in TIMEFRAMES
            for exchange in checked_exchanges(timeframe)
        )
    ),
    executor_def=dg.in_process_executor,
    description=(
        "Compares stored candles with the exchange's own, under its request budget and after everybody else, "
        "and repairs what differs. The sensor candle_audit starts one run per exchange and hour, after the "
        "hour's boundary; by hand it audits all exchanges."
    ),
    tags={
        "dagster-celery/queue": BATCH_QUEUE,
        "dagster/max_runtime": str(LONGEST_S),
    },
)
