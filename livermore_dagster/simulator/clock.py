"""Market time: runs at N× from an anchor that survives restarts, and never goes back."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from livermore_dagster.errors import BadSetting

__all__ = ["Anchor", "ManualClock", "MarketClock", "RunningClock", "load_anchor"]


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where market time stood at one moment of real time. All times in epoch ms."""

    seed: int
    speed: float
    real_ms: int
    market_ms: int
    origin_ms: int
    """Market time of the very first start: the listing and the silence of a run are placed from it."""

    def market_at(self, real_ms: int) -> int:
        return self.market_ms + max(0, int((real_ms - self.real_ms) * self.speed))


def load_anchor(path: Path | None, seed: int, speed: float, start_ms: int | None, real_ms: int) -> Anchor:
    """The anchor stored at `path`, or a new one, stored there when a path is given.

    A changed speed is taken from now on, without a step of market time. Raises BadSetting when the stored
    anchor belongs to another seed or another first start.
    """
    if path is None or not path.exists():
        start = real_ms if start_ms is None else start_ms
        anchor = Anchor(seed, speed, real_ms, start, start)
        _store(path, anchor)
        return anchor
    try:
        stored = Anchor(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise BadSetting(f"{path} is not a market anchor: {error}.", "Remove it to begin anew.") from error
    if stored.seed != seed:
        raise BadSetting(
            f"The market of {path} was begun with --seed {stored.seed}, this start says {seed}.",
            "A market keeps its seed: use that one, or another home.",
        )
    if start_ms is not None and start_ms != stored.origin_ms:
        raise BadSetting(
            f"The market of {path} was begun at {stored.origin_ms} ms, --from says {start_ms} ms.",
            "Market time runs on while the platform is down: leave --from out, or use another home.",
        )
    if stored.speed != speed:
        stored = replace(stored, speed=speed, real_ms=real_ms, market_ms=stored.market_at(real_ms))
        _store(path, stored)
    return stored


def _store(path: Path | None, anchor: Anchor) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(anchor)))
    fresh.replace(path)


class MarketClock(Protocol):
    """Market time, and waiting for it."""

    speed: float
    origin_ms: int

    def now_ms(self) -> int:
        """Market time, epoch ms."""
        ...

    async def wait_until(self, market_ms: int, limit_s: float) -> None:
        """Returns when market time reaches `market_ms`, or after `limit_s` real seconds."""
        ...


class RunningClock:
    """Market time running at the anchor's speed."""

    def __init__(self, anchor: Anchor) -> None:
        self.speed = anchor.speed
        self.origin_ms = anchor.origin_ms
        self._begun = time.monotonic()
        self._market = float(anchor.market_at(time.time_ns() // 1_000_000))

    def now_ms(self) -> int:
        return int(self._market + (time.monotonic() - self._begun) * 1000.0 * self.speed)

    async def wait_until(self, market_ms: int, limit_s: float) -> None:
        due = (market_ms - self._market) / 1000.0 / self.speed + self._begun
        # 1 ms over the due time, so that the integer clock has really reached it.
        wait = due - time.monotonic() + 0.001
        await asyncio.sleep(max(0.0, min(wait, limit_s)))


class ManualClock:
    """Market time that a test moves by hand."""

    def __init__(self, start_ms: int) -> None:
        self.speed = 0.0
        self.origin_ms = start_ms
        self._now = start_ms
        self._moved = asyncio.Event()

    def now_ms(self) -> int:
        return self._now

    def advance(self, milliseconds: int) -> None:
        """Moves market time on; it never goes back."""
        if milliseconds < 0:
            raise ValueError("market time never goes back")
        self._now += milliseconds
        self._moved.set()

    async def wait_until(self, market_ms: int, limit_s: float) -> None:
        if self._now >= market_ms:
            await asyncio.sleep(0)
            return
        self._moved.clear()
        try:
            async with asyncio.timeout(limit_s):
                await self._moved.wait()
        except TimeoutError:
            return
