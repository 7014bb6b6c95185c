"""The simulated market of a home: begun here, or joined where another process plays it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from livermore_dagster.errors import BadSetting
from livermore_dagster.platform.addresses import Doors, read_doors
from livermore_dagster.platform.home import Home
from livermore_dagster.platform.options import UpOptions

__all__ = ["JoinedMarket", "anchor_market"]

MARKET = "market.json"


@dataclass(frozen=True)
class JoinedMarket:
    """What `livermore simulate --json`, or the `up --simulate` of another home, said of its market."""

    path: Path
    doors: dict[str, Doors]
    anchor: dict[str, float]

    @classmethod
    def read(cls, place: Path) -> JoinedMarket:
        """`place`: the file that holds its JSON, or the other home. Raises BadSetting."""
        path = (place / "run" / "simulator.json" if place.is_dir() else place).expanduser().absolute()
        advice = "Give the file `livermore simulate --json` wrote, or the home of an `up --simulate`."
        try:
            anchor = json.loads(path.read_text())["market"]
            doors = read_doors(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadSetting(
                f"--join {place}: no simulated market is to be read there ({error}).", advice
            ) from None
        if not doors or not isinstance(anchor, dict):
            raise BadSetting(f"--join {place}: it names no exchanges.", advice)
        return cls(path, doors, anchor)

    @property
    def seed(self) -> int:
        return int(self.anchor["seed"])

    @property
    def speed(self) -> float:
        return float(self.anchor["speed"])


def anchor_market(home: Home, options: UpOptions) -> None:
    """Fixes where market time stands for all that reads this home. Raises BadSetting."""
    path = home.path / MARKET
    if options.join is not None:
        path.write_text(json.dumps(options.join.anchor))
        return
    from livermore_dagster.simulator.clock import load_anchor

    load_anchor(path, options.seed, options.speed, options.from_ms, time.time_ns() // 1_000_000)
