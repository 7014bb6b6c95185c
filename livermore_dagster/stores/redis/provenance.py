"""Whose data a Redis holds: 'live' or 'sim:SEED', stamped once (R13)."""

from __future__ import annotations

from typing import cast

import redis

from livermore_dagster.errors import ProvenanceMismatch
from livermore_dagster.stores.redis import keys

__all__ = ["claim_provenance", "read_provenance"]

PLACE = "This Redis"
_OURS = (
    "candles:", "indicator:", "ticker:", "closes:", "boundaries:", "exchange:", "budget:", "usercandles:",
)  # fmt: skip


def read_provenance(client: redis.Redis) -> str | None:
    """The stamp, None where there is none yet."""
    return cast("str | None", client.get(keys.PROVENANCE))


def claim_provenance(client: redis.Redis, stamp: str) -> None:
    """Stamps an empty Redis, or checks that it is stamped so.

    Raises ProvenanceMismatch for another stamp, and for market data that nobody stamped.
    """
    found = read_provenance(client)
    if found is None:
        if any(name.startswith(_OURS) for name in client.scan_iter(count=1_000)):
            raise ProvenanceMismatch(PLACE, "unstamped", stamp)
        client.set(keys.PROVENANCE, stamp, nx=True)
        found = read_provenance(client)
    if found != stamp:
        raise ProvenanceMismatch(PLACE, found or "unstamped", stamp)
