"""Which subscriptions of one connection are confirmed, to be asked for again, or given up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from livermore_dagster.exchanges.contract import Ack, Refusal

__all__ = ["AckTracker"]


@dataclass(slots=True)
class _Wanted:
    attempts: int = 0
    acknowledged: bool = False
    refused: bool = False
    """Refused by name or message, so that it is asked for again alone."""
    due: float = 0.0
    """Monotonic seconds when it counts as missing; meaningless once acknowledged or given up."""
    given_up: bool = False
    reason: str = ""


class AckTracker:
    """Times are monotonic seconds. Each symbol is asked for at most `attempts` times."""

    def __init__(self, *, attempts: int = 3, patience_s: float = 10.0) -> None:
        self._attempts = attempts
        self._patience_s = patience_s
        self._wanted: dict[str, _Wanted] = {}
        self._groups: dict[str, tuple[set[str], tuple[str, ...]]] = {}
        """Message id -> the ids still open of its group, and the group's symbols."""

    @property
    def wanted(self) -> tuple[str, ...]:
        return tuple(self._wanted)

    @property
    def acknowledged(self) -> frozenset[str]:
        return frozenset(symbol for symbol, state in self._wanted.items() if state.acknowledged)

    @property
    def settled(self) -> bool:
        """Whether every symbol is either confirmed or given up."""
        return all(state.acknowledged or state.given_up for state in self._wanted.values())

    def want(self, symbols: Iterable[str]) -> list[str]:
        """Those that are new here, or were given up, to be subscribed now."""
        new = [
            symbol
            for symbol in dict.fromkeys(symbols)
            if (state := self._wanted.get(symbol)) is None or state.given_up
        ]
        self._wanted.update((symbol, _Wanted()) for symbol in new)
        return new

    def drop(self, symbols: Iterable[str]) -> list[str]:
        """Those that were wanted, to be unsubscribed now."""
        return [s for s in dict.fromkeys(symbols) if self._wanted.pop(s, None) is not None]

    def sent(self, symbols: Sequence[str], ids: Sequence[int], now: float) -> None:
        """These symbols were asked for by the messages with these ids."""
        open_ids = {str(number) for number in ids}
        for number in open_ids:
            self._groups[number] = (open_ids, tuple(symbols))
        for symbol in symbols:
            state = self._wanted.get(symbol)
            if state is not None:
                state.attempts += 1
                state.refused = False
                state.due = now + self._patience_s

    def on_ack(self, ack: Ack) -> None:
        for symbol in ack.symbols:
            self._confirm(symbol)
        if ack.request_id is None:
            return
        open_ids, symbols = self._groups.pop(ack.request_id, (set(), ()))
        open_ids.discard(ack.request_id)
        if not open_ids:
            for symbol in symbols:
                self._confirm(symbol)

    def _confirm(self, symbol: str) -> None:
        state = self._wanted.get(symbol)
        if state is not None:
            state.acknowledged, state.refused, state.given_up = True, False, False

    def on_refusal(self, refusal: Refusal, now: float) -> None:
        symbols: tuple[str, ...] = () if refusal.symbol is None else (refusal.symbol,)
        if refusal.request_id is not None:
            symbols += self._groups.pop(refusal.request_id, (set(), ()))[1]
        for symbol in symbols:
            state = self._wanted.get(symbol)
            if state is not None and not state.acknowledged:
                state.refused, state.reason = True, refusal.reason
                # A message refused for its rate would be refused again at once.
                state.due = now + 1.0

    def overdue(self, now: float) -> tuple[list[list[str]], list[Refusal]]:
        """Groups to ask for again, and what is given up now.

        What is merely missing is asked for together once; what was refused, or is missing twice, alone:
        one bad symbol must not take the others with it.
        """
        together: list[str] = []
        groups: list[list[str]] = []
        lost: list[Refusal] = []
        for symbol, state in self._wanted.items():
            if state.acknowledged or state.given_up or state.attempts == 0 or now < state.due:
                continue
            if state.attempts >= self._attempts:
                state.given_up = True
                lost.append(Refusal(state.reason or "never acknowledged", symbol=symbol))
            elif state.refused or state.attempts > 1:
                groups.append([symbol])
            else:
                together.append(symbol)
        return ([together] if together else []) + groups, lost

    def next_due(self) -> float | None:
        """When `overdue` has something to say next; None when nothing is open."""
        open_ones = [
            state.due
            for state in self._wanted.values()
            if state.attempts and not state.acknowledged and not state.given_up
        ]
        return min(open_ones, default=None)
