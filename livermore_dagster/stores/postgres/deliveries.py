"""The `alert_deliveries` table: what users are told of alerts, where, and how that went (S7, S9)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from psycopg import AsyncConnection

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.alerts import AlertRow
from livermore_dagster.stores.postgres.statements import sql

__all__ = [
    "DIGEST_HOLD_MOST_MS",
    "DIGEST_HOLD_MS",
    "ChannelCounts",
    "Delivery",
    "DeliveryState",
    "Form",
    "HeardAlert",
    "NewDelivery",
    "Place",
    "ToldAlert",
    "begin_deliveries",
    "expire_deliveries",
    "fold_into_digest",
    "mark_routed",
    "newest_alert",
    "read_counts",
    "read_due",
    "read_next_due_ms",
    "read_told",
    "settle_deliveries",
    "store_deliveries",
    "take_unrouted",
]

DIGEST_HOLD_MS: Final = 10_000
"""A digest leaves when nothing more has come to it for so long …"""
DIGEST_HOLD_MOST_MS: Final = 60_000
"""… or its first entry has waited for so long. Real time."""

Form = Literal["single", "digest"]
DeliveryState = Literal["pending", "sent", "failed", "expired", "withdrawn", "muted", "quiet"]


@dataclass(frozen=True, slots=True)
class HeardAlert:
    """A stored alert and where it comes from. `alert.attempt` is the delivery's, 0 before its first."""

    exchange_id: int
    exchange: str
    exchange_title: str
    withdrawn_ms: int | None
    alert: AlertRow


@dataclass(frozen=True, slots=True)
class ToldAlert:
    """An alert of a series that a user was told, or is about to be."""

    user_id: int
    exchange_id: int
    symbol: str
    timeframe: Timeframe
    label: str
    kind: str
    direction: str
    open_ms: int
    candle_end_ms: int


@dataclass(frozen=True, slots=True)
class Place:
    """A channel of a user."""

    user_id: int
    channel: str


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """What was decided for one alert and place. `reason`: why it is not told, or only in a digest."""

    alert_id: int
    place: Place
    form: Form
    state: DeliveryState
    reason: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One that is due."""

    heard: HeardAlert
    form: Form

    @property
    def alert_id(self) -> int:
        return self.heard.alert.id

    @property
    def tried(self) -> int:
        """Attempts so far."""
        return self.heard.alert.attempt


@dataclass(frozen=True, slots=True)
class ChannelCounts:
    """Of one user's channel; all but what waits since a time. Times are wall clock."""

    sub: str
    channel: str
    pending: int
    waiting_since_ms: int | None
    sent: int
    failed: int
    not_told: int
    last_sent_ms: int | None
    last_error: str | None


async def take_unrouted(connection: AsyncConnection[Any], limit: int) -> list[HeardAlert]:
    """Alerts nobody judged yet, oldest first."""
    rows = await (await connection.execute(sql("take_unrouted_alerts"), {"limit": limit})).fetchall()
    return [_heard(row[0], 0, row[1:]) for row in rows]


async def read_told(
    connection: AsyncConnection[Any], ids: Collection[int], window_ms: int
) -> list[ToldAlert]:
    """What was told of the series of these alerts, from `window_ms` before the oldest of them on."""
    given = {"ids": list(ids), "window_ms": window_ms}
    rows = await (await connection.execute(sql("read_told_alerts"), given)).fetchall()
    return [ToldAlert(row[0], row[1], row[2], Timeframe(row[3]), *row[4:]) for row in rows]


async def mark_routed(
    connection: AsyncConnection[Any], heard: Sequence[HeardAlert], now_ms: int
) -> list[HeardAlert]:
    """Marks these alerts as judged; the caller judges what is returned, in the same transaction.

    Left out is what is just being written to, or was since it was read: that is to be looked at again.
    """
    await connection.execute(_SOON)
    marking = {
        "ids": [one.alert.id for one in heard],
        "withdrawn": [one.alert.id for one in heard if one.withdrawn_ms is not None],
        "now_ms": now_ms,
    }
    rows = await (await connection.execute(sql("mark_alerts_routed"), marking)).fetchall()
    marked = {row[0] for row in rows}
    return [one for one in heard if one.alert.id in marked]


async def store_deliveries(connection: AsyncConnection[Any], new: Sequence[NewDelivery], now_ms: int) -> None:
    """Stores what was decided for alerts that were marked; the caller commits."""
    if new:
        given = {
            "alert_id": [one.alert_id for one in new],
            "user_id": [one.place.user_id for one in new],
            "channel": [one.place.channel for one in new],
            "form": [one.form for one in new],
            "state": [one.state for one in new],
            "reason": [one.reason for one in new],
            "now_ms": now_ms,
        }
        await connection.execute(sql("insert_deliveries"), given)


async def read_due(
    connection: AsyncConnection[Any], place: Place, now_ms: int, limit: int, *, digest_of: int | None = None
) -> list[Delivery]:
    """What is due at a place: first what was never tried, singles before digests. `digest_of`: what belongs
    into that exchange's digest alone."""
    given = {**_of(place), **_HOLD, "now_ms": now_ms, "limit": limit, "digest_of": digest_of}
    rows = await (await connection.execute(sql("read_due_deliveries"), given)).fetchall()
    return [Delivery(_heard(row[0], row[1], row[3:]), row[2]) for row in rows]


async def read_next_due_ms(connection: AsyncConnection[Any], place: Place) -> int | None:
    """When the next delivery of a place is due, wall clock."""
    row = await (await connection.execute(sql("read_next_due"), {**_of(place), **_HOLD})).fetchone()
    return row[0] if row else None


async def begin_deliveries(
    connection: AsyncConnection[Any], place: Place, ids: Sequence[int]
) -> dict[int, int]:
    """Counts an attempt of each that may leave; the attempts by alert. The caller commits, then sends."""
    rows = await (
        await connection.execute(sql("begin_deliveries"), {**_of(place), "ids": list(ids)})
    ).fetchall()
    return {alert_id: attempts for alert_id, attempts, state in rows if state == "pending"}


async def settle_deliveries(
    connection: AsyncConnection[Any],
    place: Place,
    ids: Sequence[int],
    state: DeliveryState,
    *,
    error: str | None = None,
    reason: str | None = None,
    receipt: str | None = None,
    sent_ms: int | None = None,
    next_ms: int | None = None,
    unmade: bool = False,
) -> None:
    """How an attempt went. 'pending' with `next_ms` is another try then. `unmade`: it counts as none."""
    given = {
        **_of(place), "ids": list(ids), "state": state, "error": error, "reason": reason, "receipt": receipt,
        "sent_ms": sent_ms, "next_ms": next_ms, "unmade": unmade,
    }  # fmt: skip
    await connection.execute(_SOON)
    await connection.execute(sql("settle_deliveries"), given)


async def fold_into_digest(connection: AsyncConnection[Any], place: Place, ids: Sequence[int]) -> None:
    await connection.execute(sql("fold_into_digest"), {**_of(place), "ids": list(ids)})


async def expire_deliveries(connection: AsyncConnection[Any], kept: Collection[Place], before_ms: int) -> int:
    """Ends what waits for a place that is not `kept`, or was judged before `before_ms`; how many."""
    given = {
        "user_ids": [place.user_id for place in kept],
        "channels": [place.channel for place in kept],
        "before_ms": before_ms,
        "too_old": "it could not be sent for a day",
        "no_channel": "the channel is no longer in the settings, or is switched off",
    }
    return (await connection.execute(sql("expire_deliveries"), given)).rowcount


async def newest_alert(connection: AsyncConnection[Any]) -> HeardAlert | None:
    """The alert of the newest candle, told or not; None where none was ever stored."""
    row = await (await connection.execute(sql("read_newest_alert"))).fetchone()
    return _heard(row[0], 0, row[1:]) if row else None


async def read_counts(connection: AsyncConnection[Any], since_ms: int) -> list[ChannelCounts]:
    """By user and channel."""
    rows = await (await connection.execute(sql("read_delivery_counts"), {"since_ms": since_ms})).fetchall()
    return [ChannelCounts(*row) for row in rows]


_SOON: Final = "SET LOCAL synchronous_commit = off"
"""Durable within a second: what a fall of the server takes back is judged, or told, once more. Ingest does
not wait at the disk behind it."""
_HOLD: Final = {"hold_ms": DIGEST_HOLD_MS, "hold_most_ms": DIGEST_HOLD_MOST_MS}


def _of(place: Place) -> dict[str, Any]:
    return {"user_id": place.user_id, "channel": place.channel}


def _heard(alert_id: int, attempt: int, row: Sequence[Any]) -> HeardAlert:
    exchange_id, name, title, withdrawn_ms, symbol, timeframe, *rest = row
    alert = replace(AlertRow(symbol, Timeframe(timeframe), *rest), id=alert_id, attempt=attempt)
    return HeardAlert(exchange_id, name, title, withdrawn_ms, alert)
