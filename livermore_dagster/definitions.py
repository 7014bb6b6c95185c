"""Everything Dagster sees of Livermore. Loads without servers, network or environment."""

from __future__ import annotations

import dagster as dg

from assets.accounts import account_assets
from assets.audit_job import audit_job
from assets.candle_checks import candle_checks
from assets.candles import candle_assets
from assets.fee_checks import fee_checks
from assets.fees import fee_assets
from assets.indicators import indicator_assets
from assets.ingest_job import ingest_job
from assets.macdv import macdv_assets
from assets.macdv_checks import macdv_checks
from assets.portfolio import portfolio
from assets.retention import retention_asset
from assets.symbols import symbol_checks, symbols_asset
from livermore_dagster.platform.logging import configure_from_environment
from livermore_dagster.resources import AccountResource, ExchangeResource, IngestResource, PlatformResource
from sensors.account_fills import account_sensor
from sensors.candle_audit import audit_sensor
from sensors.candle_boundary import boundary_sensor
from sensors.ingest_keeper import keeper_sensor
from sensors.symbol_universe import symbol_sensor

configure_from_environment()
defs = dg.Definitions(
    assets=[
        *candle_assets(),
        *macdv_assets(),
        *indicator_assets(),
        retention_asset,
        symbols_asset,
        *account_assets(),
        *fee_assets(),
        portfolio,
    ],
    asset_checks=[*candle_checks(), *macdv_checks(), *fee_checks(), symbol_checks()],
    jobs=[ingest_job, audit_job],
    sensors=[boundary_sensor, audit_sensor, keeper_sensor, account_sensor, symbol_sensor],
    resources={
        "account": AccountResource(),
        "exchange": ExchangeResource(),
        "ingest": IngestResource(),
        "platform": PlatformResource(),
    },
    # One boundary is one process: its steps share connections, and a warm worker needs no other to start.
    executor=dg.in_process_executor,
)
