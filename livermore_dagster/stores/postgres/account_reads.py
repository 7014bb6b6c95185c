"""The `account_reads` table: how far the history of an account is read, page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

from psycopg import AsyncConnection

from livermore_dagster.stores.postgres.statements import sql

__all__ = ["AccountRead", "Kind", "read_progress", "unread", "write_progress"]

Kind = Literal["orders", "fills"]
_KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class AccountRead:
    """Progress of one kind in one market ('' where all markets are read at once). Times are epoch ms, UTC.

    While a read is `under_way`, `token` and `since_ms` are where its next page goes on; else `token` is where
    the next read begins, as far as the exchange counts by ids. `complete`: the end of the history was
    reached once. `newest_ms`: of all rows stored. Pages and rows are counted over all reads.
    """

    kind: Kind
    market: str
    under_way: bool = False
    token: str = ""
    since_ms: int | None = None
    complete: bool = False
    newest_ms: int | None = None
    pages: int = 0
    rows_received: int = 0
    rows_new: int = 0
    updated_ms: int = 0


async def read_progress(
    connection: AsyncConnection[Any], account_id: int
) -> dict[tuple[Kind, str], AccountRead]:
    """By kind and market."""
    rows = await (await connection.execute(sql("read_account_reads"), {"account_id": account_id})).fetchall()
    return {(row[0], row[1]): AccountRead(*row) for row in rows}


def unread(
    progress: Mapping[tuple[Kind, str], AccountRead], markets: Sequence[str]
) -> list[tuple[Kind, str]]:
    """What an account that trades these markets (none: all are read at once) lacks: never read to its end.

    A market that was taken from the account is not missed.
    """
    wanted = [(kind, market) for kind in _KINDS for market in (markets or [""])]
    return [key for key in wanted if key not in progress or not progress[key].complete]


async def write_progress(connection: AsyncConnection[Any], account_id: int, read: AccountRead) -> None:
    """The caller commits, together with the page that this is the progress of."""
    await connection.execute(sql("write_account_read"), {"account_id": account_id, **asdict(read)})
