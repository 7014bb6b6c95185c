"""What an exchange's instance monitors: its most traded symbols and those its users want, merged (X3).

Pure: made from the stored product list, what was chosen at the start and what the users wish, so that whoever
asks (the instance, a Dagster run, `livermore symbols list`) gets the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple, Protocol

from livermore_dagster.stores.postgres.symbols import SymbolRow

__all__ = ["Gone", "LeftOut", "Monitored", "MonitoredChange", "MonitoredList", "Tier", "Wish", "merge"]


class Choice(Protocol):
    """What was chosen at the start: the `top` N, or products by name in Tier 1's place."""

    @property
    def top(self) -> int | None: ...
    @property
    def listed(self) -> tuple[str, ...]: ...


class Tier(IntEnum):
    SHARED = 1
    """Chosen for everyone: by volume, or by name at the start."""
    OWN = 2
    """Only there because users want it."""


class Gone(StrEnum):
    """Why a symbol that was asked for is not monitored."""

    HALTED = "halted"
    """In the exchange's list, not traded."""
    DELISTED = "delisted"
    UNKNOWN = "unknown"
    """The exchange never had it."""


class Wish(NamedTuple):
    """A symbol a user wants: own addition, or held in the account (`held`). Any id, also an alias."""

    user_id: int
    sub: str
    symbol: str
    held: bool = False


@dataclass(frozen=True, slots=True)
class Monitored:
    """`rank` by 24 h volume in USD, from 1; None for what has none (a second quote of a base)."""

    symbol: str
    tier: Tier
    rank: int | None = None
    users: tuple[str, ...] = ()
    """Subs of those who want it, in the order of their ids; also where it is in Tier 1 anyway."""
    user_ids: tuple[int, ...] = ()
    """Their ids, ascending."""
    held: bool = False
    asked_as: tuple[str, ...] = ()
    """Aliases under which it was asked for."""

    @property
    def reason(self) -> str:
        if self.tier is Tier.SHARED:
            return "chosen at the start" if self.rank is None else f"rank {self.rank}"
        return "held" if self.held else "added"


@dataclass(frozen=True, slots=True)
class LeftOut:
    symbol: str
    why: Gone
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MonitoredChange:
    """What a new list asks of a running instance; symbols in the new list's order."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    promoted: tuple[str, ...] = ()
    """From Tier 2 to Tier 1."""
    demoted: tuple[str, ...] = ()
    reordered: bool = False
    """The same symbols in another order."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.promoted or self.demoted or self.reordered)


@dataclass(frozen=True, slots=True)
class MonitoredList:
    """Each symbol once under its canonical id: Tier 1 in rank order, then Tier 2 user by user."""

    symbols: tuple[Monitored, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def ids(self) -> list[str]:
        return [one.symbol for one in self.symbols]

    @property
    def owners(self) -> dict[str, tuple[int, ...]]:
        """Tier 2: whose each symbol is."""
        return {one.symbol: one.user_ids for one in self.symbols if one.tier is Tier.OWN}

    def since(self, before: MonitoredList) -> MonitoredChange:
        """What has changed since `before`."""
        old = {one.symbol: one.tier for one in before.symbols}
        new = {one.symbol: one.tier for one in self.symbols}
        both = [symbol for symbol in new if symbol in old]
        return MonitoredChange(
            added=tuple(symbol for symbol in new if symbol not in old),
            removed=tuple(symbol for symbol in old if symbol not in new),
            promoted=tuple(symbol for symbol in both if new[symbol] < old[symbol]),
            demoted=tuple(symbol for symbol in both if new[symbol] > old[symbol]),
            reordered=both != [symbol for symbol in old if symbol in new],
        )


@dataclass(slots=True)
class _Entry:
    tier: Tier
    rank: int | None
    users: list[str] = field(default_factory=list)
    user_ids: list[int] = field(default_factory=list)
    held: bool = False
    asked_as: list[str] = field(default_factory=list)


def merge(
    choice: Choice, rows: Sequence[SymbolRow], wishes: Iterable[Wish], *, held_only: bool = False
) -> MonitoredList:
    """`rows`: the exchange's stored product list. `held_only`: symbols held in accounts and nothing else."""
    listed = {row.symbol: row for row in rows}
    found: dict[str, _Entry] = {}
    gone: dict[str, tuple[Gone, list[str]]] = {}

    def place(symbol: str, tier: Tier, sub: str = "") -> _Entry | None:
        row = listed.get(symbol)
        canonical = row.alias_of or symbol if row is not None else symbol
        row = listed.get(canonical, row)
        if row is None or not row.trading:
            users = gone.setdefault(symbol, (_why(row), []))[1]
            if sub and sub not in users:
                users.append(sub)
            return None
        entry = found.setdefault(canonical, _Entry(tier, row.volume_rank))
        if symbol != canonical and symbol not in entry.asked_as:
            entry.asked_as.append(symbol)
        return entry

    if not held_only:
        for symbol in _first_tier(choice, rows):
            place(symbol, Tier.SHARED)
    for wish in sorted(wishes):
        entry = place(wish.symbol, Tier.OWN, wish.sub) if wish.held or not held_only else None
        if entry is not None:
            if wish.user_id not in entry.user_ids:
                entry.users.append(wish.sub)
                entry.user_ids.append(wish.user_id)
            entry.held = entry.held or wish.held
    return MonitoredList(
        tuple(
            Monitored(
                symbol,
                one.tier,
                one.rank,
                tuple(one.users),
                tuple(one.user_ids),
                one.held,
                tuple(one.asked_as),
            )
            for symbol, one in found.items()
        ),
        tuple(LeftOut(symbol, why, tuple(users)) for symbol, (why, users) in gone.items()),
    )


def _first_tier(choice: Choice, rows: Sequence[SymbolRow]) -> list[str]:
    top = choice.top or 0
    ranked = sorted((row.volume_rank, row.symbol) for row in rows if row.volume_rank is not None)
    by_volume = [symbol for rank, symbol in ranked if rank <= top]
    return list(dict.fromkeys([*by_volume, *choice.listed]))


def _why(row: SymbolRow | None) -> Gone:
    if row is None:
        return Gone.UNKNOWN
    return Gone.HALTED if row.listed else Gone.DELISTED
