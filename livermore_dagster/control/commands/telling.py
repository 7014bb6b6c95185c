"""What is said and kept of a command: the same shape from whoever takes, refuses or runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from livermore_dagster.control.commands.message import Command, Outcome, Reply, ReplyKind
from livermore_dagster.stores.postgres.commands import CommandRecord

__all__ = ["Teller"]


class Teller:
    """Speaks for one instance. Times are epoch ms of the Redis server's clock."""

    def __init__(self, instance_id: str) -> None:
        self.instance_id = instance_id

    def reply(
        self,
        command: Command,
        kind: ReplyKind,
        outcome: Outcome,
        at_ms: int,
        error: str = "",
        result: Mapping[str, Any] | None = None,
        started_ms: int | None = None,
    ) -> Reply:
        return Reply(
            correlation_id=command.correlation_id,
            kind=kind,
            outcome=outcome,
            exchange=command.exchange,
            at=at_ms,
            instance_id=self.instance_id,
            error=error,
            result=dict(result or {}),
            duration_ms=None if started_ms is None else at_ms - started_ms,
        )

    def record(
        self,
        command: Command,
        outcome: Outcome,
        *,
        received_ms: int,
        started_ms: int | None = None,
        finished_ms: int | None = None,
        error: str = "",
        result: Mapping[str, Any] | None = None,
    ) -> CommandRecord:
        return CommandRecord(
            correlation_id=command.correlation_id,
            sub=command.sub,
            type=command.type.value,
            exchange=command.exchange,
            payload=command.payload,
            priority=command.priority.value,
            sent_ms=command.timestamp,
            received_ms=received_ms,
            started_ms=started_ms,
            finished_ms=finished_ms,
            outcome=outcome.value,
            error=error,
            result=dict(result or {}),
            instance_id=self.instance_id,
        )
