"""How long a live service waits before it doubts, asks or tries again. Tests have less of it."""

from __future__ import annotations

from dataclasses import dataclass

from livermore_dagster.exchanges.backoff import STABLE_S

__all__ = ["Patience"]


@dataclass(frozen=True, slots=True)
class Patience:
    """Real seconds: what an exchange's network and cadence take does not hang on a market's speed."""

    dead_s: float = 30.0
    """A connection without any message for so long is dead (P12)."""
    silent_s: float = 60.0
    """So long may the most liquid symbols be silent before REST is asked whether they trade (P12)."""
    ack_s: float = 10.0
    """A subscription not confirmed within this is asked for again."""
    refused_again_s: float = 60.0
    """After this a symbol given up by the connection is asked for once more."""
    silence_s: float = 5.0
    """After a bucket's end a silent symbol is asked for by REST."""
    flow_s: float = 5.0
    """So long after a candle's end its connection may take to show that it flows on."""
    change_s: float = 15.0
    """So long new connections may take until they bring something, before a change of symbols is given up."""
    again_s: float = 30.0
    """After this a change of symbols that was given up is tried again."""
    warm_again_s: tuple[float, ...] = (5.0, 15.0, *(60.0,) * 7, 300.0, 900.0)
    """Before a warm-up that failed in part is tried again; the last one again and again."""
    warm_tries: int = 10
    """After so many failed ones a symbol counts as warm with the history there is: one series that cannot be
    had must not keep the others of its symbol from being checked and judged."""
    flag_s: float = 10.0
    """So long after a candle's end the exchange's closed flag may take."""
    skew_look_s: float = 300.0
    """Every so often the exchange's REST time is compared with its stream's."""
    repair_s: tuple[float, ...] = (3.0, 10.0, 30.0, 60.0)
    """Before a bucket REST could not answer for is asked again; after the last it is given up."""
    stable_s: float = STABLE_S
    """A connection that held for so long is not one of a row of failures."""
    lifetime_s: float | None = None
    """A connection's age to renew before, where it is not the exchange's own (quirks)."""
