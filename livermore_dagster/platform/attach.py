"""How a command finds its platform, and makes sure that the stores named are that platform's (R13)."""

from __future__ import annotations

from pathlib import Path

import psycopg

from livermore_dagster.errors import ProvenanceMismatch
from livermore_dagster.platform.config import PROVENANCE, Settings
from livermore_dagster.stores.postgres.connect import conninfo, no_answer
from livermore_dagster.stores.postgres.provenance import read_provenance as database_stamp
from livermore_dagster.stores.redis.client import connect
from livermore_dagster.stores.redis.provenance import read_provenance as redis_stamp

__all__ = ["attach", "require_provenance", "require_redis"]

CONNECT_S = 5


def attach(home: Path | None) -> Settings:
    """The platform of a home, or of the environment, once its servers have said that they are its own.

    Raises NotRunning, BadSetting, PlatformError for a server that does not answer, ProvenanceMismatch.
    """
    settings = Settings.discover(home)
    require_provenance(settings)
    return settings


def require_provenance(settings: Settings) -> None:
    """Raises ProvenanceMismatch where Redis or PostgreSQL holds other data than the settings say.

    A store that bears no stamp yet holds nothing that could be taken for something else.
    """
    require_redis(settings)
    try:
        address = conninfo(settings.database_url, settings.database_ca)
        with psycopg.connect(address, connect_timeout=CONNECT_S) as connection:
            _require("This database", database_stamp(connection), settings)
    except psycopg.OperationalError as error:
        raise no_answer(error) from None


def require_redis(settings: Settings) -> None:
    """The same of Redis alone."""
    with connect(settings.redis_url) as client:
        _require("This Redis", redis_stamp(client), settings)


def _require(place: str, found: str | None, settings: Settings) -> None:
    if found is not None and found != settings.provenance:
        raise ProvenanceMismatch(
            place,
            found,
            settings.provenance,
            f"{PROVENANCE} and the servers' addresses must be of one platform: "
            'run eval "$(livermore env)" again, or unset them.',
        )
