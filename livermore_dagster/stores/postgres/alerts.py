"""The `alert_history` table: alerts stored exactly once, and the outbox they leave by (S7)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from psycopg import AsyncConnection

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.postgres.statements import sql

__all__ = [
    "AlertKey",
    "AlertRow",
    "StoredAlert",
    "Withdrawal",
    "insert_alerts",
    "mark_published",
    "read_alerts",
    "read_standing",
    "read_withdrawn",
    "take_unpublished",
    "withdraw_alerts",
]

AlertKey = tuple[str, str, str, int]
"""Symbol, timeframe, label and open of the candle: one alert of an exchange."""


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert as it is stored and sent. Unique by exchange, symbol, timeframe, label and candle.

    `timeframes`: the six timeframes' {value, signal, stage, open_ms, reason}. `triggered_ms`: exchange clock
    when the candle was proven closed. `id` and `attempt` are 0 until it is stored.
    """

    symbol: str
    timeframe: Timeframe
    label: str
    kind: str
    direction: str
    open_ms: int
    candle_end_ms: int
    triggered_ms: int
    price: str
    price_source: str
    price_age_ms: int
    macdv: float
    signal: float | None
    histogram: float | None
    stage: str
    previous_label: str | None
    timeframes: Mapping[str, Mapping[str, Any]]
    bias: str
    late: bool
    revised: bool
    id: int = 0
    attempt: int = 0

    @property
    def key(self) -> AlertKey:
        return self.symbol, self.timeframe.value, self.label, self.open_ms


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """An alert whose crossing a revision made vanish. `at_ms`: exchange clock."""

    symbol: str
    timeframe: Timeframe
    label: str
    open_ms: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """A row for eyes. `published_ms`: wall clock."""

    exchange: str
    exchange_id: int
    alert: AlertRow
    withdrawn_ms: int | None
    published_ms: int | None


_encode = msgspec.json.Encoder().encode


async def insert_alerts(
    connection: AsyncConnection[Any], exchange_id: int, alerts: Sequence[AlertRow]
) -> list[AlertRow]:
    """Stores those that are not yet there and returns them with their ids, in order; the caller commits."""
    if not alerts:
        return []
    unique = {alert.key: alert for alert in alerts}
    # One JSON text for all: arrays by column take psycopg ten times as long.
    given = {"exchange_id": exchange_id, "alerts": _encode(list(unique.values())).decode()}
    rows = await (await connection.execute(sql("insert_alerts"), given)).fetchall()
    new = [
        replace(unique[symbol, timeframe, label, open_ms], id=alert_id, attempt=1)
        for alert_id, symbol, timeframe, label, open_ms, inserted in rows
        if inserted
    ]
    return sorted(new, key=lambda alert: alert.id)


async def withdraw_alerts(
    connection: AsyncConnection[Any], exchange_id: int, gone: Sequence[Withdrawal]
) -> None:
    """Marks alerts as withdrawn, keeping the first time; the caller commits."""
    if gone:
        given = {
            "exchange_id": exchange_id,
            "symbol": [one.symbol for one in gone],
            "timeframe": [one.timeframe.value for one in gone],
            "label": [one.label for one in gone],
            "open_ms": [one.open_ms for one in gone],
            "withdrawn_ms": [one.at_ms for one in gone],
        }
        await connection.execute(sql("withdraw_alerts"), given)


async def take_unpublished(
    connection: AsyncConnection[Any], exchange_id: int, limit: int, busy: Collection[int] = ()
) -> list[AlertRow]:
    """Alerts still to be published but for `busy`, oldest first, the attempt counted; the caller commits."""
    given = {"exchange_id": exchange_id, "limit": limit, "busy": list(busy)}
    rows = await (await connection.execute(sql("take_unpublished_alerts"), given)).fetchall()
    return sorted((_alert(row[0], row[1], row[2:]) for row in rows), key=lambda alert: alert.id)


async def mark_published(connection: AsyncConnection[Any], ids: Sequence[int], published_ms: int) -> None:
    """`published_ms`: wall clock. The caller commits."""
    if ids:
        given = {"ids": list(ids), "published_ms": published_ms}
        await connection.execute(sql("mark_alerts_published"), given)


async def read_standing(
    connection: AsyncConnection[Any], exchange_id: int, symbol: str, timeframe: Timeframe
) -> list[tuple[int, str]]:
    """Open (ms) and label of a series' newest 1,000 alerts that were not withdrawn, newest first."""
    given = {"exchange_id": exchange_id, "symbol": symbol, "timeframe": timeframe.value}
    rows = await (await connection.execute(sql("read_standing_alerts"), given)).fetchall()
    return [(open_ms, label) for open_ms, label in rows]


async def read_alerts(
    connection: AsyncConnection[Any],
    *,
    exchange: str | None = None,
    symbol: str | None = None,
    timeframe: Timeframe | None = None,
    label: str | None = None,
    since_ms: int = 0,
    after_id: int = 0,
    limit: int | None = 50,
) -> list[StoredAlert]:
    """The newest `limit` alerts (None: all) that fit, oldest first. `since_ms`: of candles that end then or
    later; `after_id`: stored after that one.

    `label`: a whole label, or its first part ('level', 'reversal').
    """
    given = {
        "exchange": exchange,
        "symbol": symbol,
        "timeframe": timeframe.value if timeframe else None,
        "label": label,
        "since_ms": since_ms,
        "after_id": after_id,
        "limit": limit,
    }
    rows = await (await connection.execute(sql("read_alerts"), given)).fetchall()
    return [StoredAlert(row[1], row[-4], _alert(row[0], row[-1], row[2:-4]), *row[-3:-1]) for row in rows]


async def read_withdrawn(connection: AsyncConnection[Any], ids: Collection[int]) -> dict[int, int]:
    """When (exchange clock, ms) those of `ids` were withdrawn that were."""
    rows = await (await connection.execute(sql("list_withdrawn_alerts"), {"ids": list(ids)})).fetchall()
    return {row[0]: row[1] for row in rows}


def _alert(alert_id: int, attempt: int, row: Sequence[Any]) -> AlertRow:
    symbol, timeframe, *rest = row
    alert = AlertRow(symbol, Timeframe(timeframe), *rest)
    return replace(alert, id=alert_id, attempt=attempt)
