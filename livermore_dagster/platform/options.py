"""What `livermore up` was asked for, checked before anything is started."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from livermore_dagster.errors import BadSetting
from livermore_dagster.exchanges.factory import require_active, row_named
from livermore_dagster.market.exchange import ExchangeRow
from livermore_dagster.platform.config import DATABASE_CA
from livermore_dagster.stores.redis.desired import SymbolChoice

if TYPE_CHECKING:
    from livermore_dagster.platform.simulation import JoinedMarket

__all__ = [
    "DEFAULT_METRICS_PORT",
    "DEFAULT_PORT",
    "UpOptions",
    "check_simulation",
    "checked_exchanges",
    "database_ca",
    "outside_server",
    "parse_from",
    "parse_symbols",
    "seed_of_home",
]

DEFAULT_PORT = 3000
DEFAULT_METRICS_PORT = 9464
DEFAULT_SEED = 1


@dataclass(frozen=True)
class UpOptions:
    """One start of the platform."""

    home: Path
    simulate: bool
    speed: float
    seed: int
    from_ms: int | None
    """Market time, epoch ms, at which a new simulated market begins."""
    autostart: tuple[ExchangeRow, ...]
    symbols: SymbolChoice | None
    """None: as each exchange was last started, else as settings say."""
    run_for_s: float | None
    as_json: bool
    port: int
    redis_url: str | None
    """None: the embedded Valkey."""
    database_url: str | None
    """None: the embedded PostgreSQL."""
    database_ca: Path | None
    storm: int | None = None
    """Seed of the storm of faults the simulated exchanges play."""
    metrics_port: int | None = None
    """None: DEFAULT_METRICS_PORT, or a free one where that is taken."""
    accounts: bool = False
    """Register the simulated exchanges' accounts for this home's user."""
    user: str | None = None
    """Sub of whose settings and symbols are started with; None: this home's user, and symbols as last."""
    join: JoinedMarket | None = None
    """A simulated market that is played elsewhere; its seed and speed are those of this start."""

    @property
    def provenance(self) -> str:
        return f"sim:{self.seed}" if self.simulate else "live"


def check_simulation(makes: Mapping[str, object], uses: Mapping[str, object], *, simulate: bool) -> None:
    """Options by name, what was not given being false: `makes` one's own market, `uses` one.

    Raises BadSetting where they contradict one another.
    """
    for name, given in {**makes, **uses}.items():
        if given and not simulate:
            raise BadSetting(f"{name} speaks of a simulated market.", "Add --simulate, or leave it out.")
    if uses["--join"] is not None and any(makes.values()):
        raise BadSetting(
            "--join takes a market as it is played.", f"Leave {', '.join(makes)} to who plays it."
        )


def checked_exchanges(names: Sequence[str]) -> tuple[ExchangeRow, ...]:
    """Rows of the exchanges named, once each; UnknownExchange or InactiveExchange for any other."""
    return tuple(require_active(row_named(name)) for name in dict.fromkeys(names))


def parse_symbols(text: str | None) -> SymbolChoice | None:
    """'20' is the top 20 by volume, 'BTCUSDT,ETHUSDT' those."""
    if text is None:
        return None
    words = [word.strip() for word in text.split(",") if word.strip()]
    if len(words) == 1 and words[0].lstrip("-").isdigit():
        number = int(words[0])
        if number < 1:
            raise BadSetting(
                f"--symbols {text}: at least one symbol is needed.",
                "Give a number (top N) or names with commas.",
            )
        return SymbolChoice(top=number)
    if not words:
        raise BadSetting(f"--symbols {text!r} names none.", "Give a number (top N) or names with commas.")
    return SymbolChoice(listed=tuple(dict.fromkeys(words)))


def parse_from(text: str | None) -> int | None:
    """ISO 8601 with its offset (Z for UTC) as epoch ms."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadSetting(f"--from {text!r} is not a time.", "Write it like 2026-01-05T23:30:00Z.")
    return int(moment.astimezone(UTC).timestamp() * 1000)


def seed_of_home(home: Path, given: int | None) -> int:
    """The seed given, else the one this home's market was begun with."""
    if given is not None:
        return given
    try:
        stamp = (home / "provenance").read_text().strip()
    except OSError:
        return DEFAULT_SEED
    seed = stamp.removeprefix("sim:")
    return int(seed) if seed != stamp and seed.lstrip("-").isdigit() else DEFAULT_SEED


def database_ca() -> Path | None:
    """The CA file an environment variable names. Raises BadSetting where there is no such file."""
    ca = os.environ.get(DATABASE_CA)
    if ca and not Path(ca).is_file():
        raise BadSetting(f"{DATABASE_CA} is {ca!r}: no such file.", "Give the path of a CA file (PEM).")
    return Path(ca) if ca else None


def outside_server(variable: str, home_sockets: Path) -> str | None:
    """The server an environment variable names, unless that is this home's own embedded one.

    A shell in which `eval "$(livermore env)"` ran names the embedded servers, which `up` is about to start.
    """
    url = os.environ.get(variable)
    return None if not url or str(home_sockets) in url else url
