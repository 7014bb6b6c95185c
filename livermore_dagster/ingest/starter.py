"""Who started an exchange, and what his settings say of the process that runs it."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from livermore_dagster.accounts.settings import load
from livermore_dagster.accounts.settings_document import LogLevel, RuntimeSettings
from livermore_dagster.errors import LivermoreError
from livermore_dagster.ingest.context import ExchangeContext
from livermore_dagster.stores.postgres.users import read_users
from livermore_dagster.stores.redis.desired import Desired

__all__ = ["Starter", "read_starter"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Starter:
    """`display_name` of one who is no user, such as 'dagster', is what is known of him."""

    email: str = ""
    display_name: str = ""
    log_level: LogLevel = RuntimeSettings().log_level


async def read_starter(ctx: ExchangeContext, desired: Desired | None) -> Starter:
    """Of what is wanted; settings that cannot be had are told and count as never written."""
    sub = desired.user if desired is not None else ""
    async with ctx.pool.connection() as connection:
        known = await read_users(connection, sub) if sub else []
        if not known:
            return Starter(display_name=sub)
        try:
            level = (await load(connection, sub)).document.runtime.log_level
        except LivermoreError as error:  # he is disabled, or his settings are of another version
            log.warning("settings_unread", user=sub, error=error.message)
            level = Starter().log_level
    return Starter(known[0].email, known[0].display_name, level)
