"""What became of each candle, and who wrote it: for whoever reads a storm's failure."""

from __future__ import annotations

import threading
from collections import defaultdict

import redis

from livermore_dagster.market.timeframe import Timeframe
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.member import decode

__all__ = ["Chronicle"]


class Chronicle:
    """Follows the closes of an exchange from its making on; the stream itself is trimmed."""

    def __init__(self, redis_url: str, exchange_id: int) -> None:
        self._client = redis.Redis.from_url(redis_url, decode_responses=True, socket_timeout=None)
        self._key = keys.closes(exchange_id)
        self._lines: dict[tuple[str, str, int], list[str]] = defaultdict(list)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def of(self, symbol: str, timeframe: str, open_ms: int) -> str:
        """Each write of the candle that closed or revised it, oldest first."""
        return " | ".join(self._lines.get((symbol, timeframe, open_ms), ["never closed"]))

    def revisions(self, symbol: str, timeframe: str) -> str:
        """Opens of a series in the order their revisions and late closes came."""
        return "; ".join(
            f"{open_ms}: {line}"
            for (name, frame, open_ms), lines in self._lines.items()
            if (name, frame) == (symbol, timeframe)
            for line in lines
            if not line.startswith(("LIVE FINAL closed", "WARMUP"))
        )

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self._client.close()

    def _follow(self) -> None:
        after = "0"
        while not self._stop.is_set():
            for _, entries in self._client.xread({self._key: after}, count=1_000, block=200) or []:
                for after, fields in entries:
                    self._note(after, fields)

    def _note(self, entry_id: str, fields: dict[str, str]) -> None:
        one = decode(fields["m"], fields["s"], Timeframe(fields["t"]))
        candle = one.candle
        self._lines[fields["s"], fields["t"], candle.open_ms].append(
            f"{one.origin.name} {one.rank.name} {'revised' if fields['r'] == '1' else 'closed'} as "
            f"{candle.open}/{candle.high}/{candle.low}/{candle.close}/{candle.volume}, "
            f"stamp {one.stamp_ms - one.end_ms:+}, proven {int(fields['p']) - one.end_ms:+} ms of its end "
            f"(entry {entry_id})"
        )
