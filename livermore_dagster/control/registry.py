"""Who runs what: the claims of all exchanges, for status screens and the keeper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import redis

from livermore_dagster.control.claim import read_claim
from livermore_dagster.control.status import ClaimFacts, InstanceStatus, decode_status
from livermore_dagster.stores.redis import keys

__all__ = ["InstanceView", "read_instance", "read_instances"]


class InstanceView(msgspec.Struct, frozen=True):
    """One exchange's instance: its live claim, or what it last was."""

    exchange_id: int
    exchange_name: str
    claim: ClaimFacts | None
    last_known: InstanceStatus | None

    @property
    def live(self) -> bool:
        return self.claim is not None and self.claim.live

    @property
    def state(self) -> str:
        """'idle' when it never ran or ended as it should, 'offline' when it ended without saying so."""
        if self.claim is not None and self.claim.live:
            return self.claim.status.connection_state.value
        if self.last_known is None or self.last_known.connection_state.value in ("stopped", "idle"):
            return "idle"
        return "offline"


def read_instance(client: redis.Redis, exchange_id: int, exchange_name: str) -> InstanceView:
    last = client.get(keys.last_status(exchange_id))
    return InstanceView(
        exchange_id=exchange_id,
        exchange_name=exchange_name,
        claim=read_claim(client, exchange_id),
        last_known=decode_status(str(last)) if last else None,
    )


def read_instances(
    client: redis.Redis, exchanges: Mapping[int, str] | Iterable[tuple[int, str]]
) -> list[InstanceView]:
    """One view per exchange given as id and name, in the order given."""
    pairs = exchanges.items() if isinstance(exchanges, Mapping) else exchanges
    return [read_instance(client, exchange_id, name) for exchange_id, name in pairs]
