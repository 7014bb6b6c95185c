"""What runs of an exchange, or last ran, for status screens."""

from __future__ import annotations

import msgspec
import redis

from livermore_dagster.control.claim import read_claim
from livermore_dagster.control.offline import tell_offline
from livermore_dagster.control.status import ClaimFacts, InstanceStatus, decode_status
from livermore_dagster.stores.redis import keys

__all__ = ["InstanceView", "note_offline", "read_instance"]


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
        return "offline" if self.lost is not None else "idle"

    @property
    def lost(self) -> InstanceStatus | None:
        """Last known facts of the instance that ended without a word and has no successor."""
        if self.live:
            return None
        last = self.last_known
        return last if last is not None and last.left_without_a_word else None


def read_instance(client: redis.Redis, exchange_id: int, exchange_name: str) -> InstanceView:
    last = client.get(keys.last_status(exchange_id))
    return InstanceView(
        exchange_id=exchange_id,
        exchange_name=exchange_name,
        claim=read_claim(client, exchange_id),
        last_known=decode_status(str(last)) if last else None,
    )


def note_offline(client: redis.Redis, view: InstanceView, now_ms: int) -> bool:
    """Tells it when the instance has gone without a word; whether this call was the one to tell it."""
    return view.lost is not None and tell_offline(client, view.lost, now_ms)
