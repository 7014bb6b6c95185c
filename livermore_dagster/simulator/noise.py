"""Counter-based noise: every value is a pure function of a key and an index, so time can be entered anywhere.

Only integer operations and IEEE + − × / are used: their results do not depend on the machine's vector width,
on array lengths or on the maths library, and the same seed gives the same market everywhere.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw", "draw_at", "grow", "key_of", "octave", "octave_at", "unit"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def key_of(*parts: str | int) -> int:
    """A 64-bit key for these parts."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def draw(key: int, start: int, count: int) -> NDArray[np.uint64]:
    """64 random bits for each of the counters start … start + count − 1 (SplitMix64)."""
    return _mix(key, np.arange(start, start + count, dtype=np.uint64))


def draw_at(key: int, counters: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The same for any counters, in any order."""
    return _mix(key, counters.astype(np.uint64))


def _mix(key: int, bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Turns the counters, in place, into what is drawn for them."""
    bits *= _GOLDEN
    bits += np.uint64(key)
    bits ^= bits >> np.uint64(30)
    bits *= _MIX_1
    bits ^= bits >> np.uint64(27)
    bits *= _MIX_2
    bits ^= bits >> np.uint64(31)
    return bits


def unit(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The bits as numbers in [−1, 1)."""
    scaled = (bits >> np.uint64(11)).astype(np.float64)
    scaled *= 2.0**-52
    scaled -= 1.0
    return scaled


def octave(key: int, period: int, start: int, count: int) -> NDArray[np.float64]:
    """Smooth noise in [−1, 1) at the counters start …: random every `period`, smoothstep between."""
    first = start // period
    cells = (start + count - 1) // period - first + 1
    knots = unit(draw(key, first, cells + 1))
    offset = start - first * period
    if period < count:
        step = _smooth(0, period, period)
        path = knots[:-1, None] + (knots[1:] - knots[:-1])[:, None] * step[None, :]
        return path.reshape(-1)[offset : offset + count]
    # A long period is entered by at most two cells: only what is asked of them is drawn.
    parts = []
    for cell in range(cells):
        low, high = max(0, offset - cell * period), min(period, offset + count - cell * period)
        parts.append(knots[cell] + (knots[cell + 1] - knots[cell]) * _smooth(low, high, period))
    return np.concatenate(parts)


def octave_at(key: int, period: int, counters: NDArray[np.int64]) -> NDArray[np.float64]:
    """The same noise at any counters, to the last bit."""
    cell = counters // period
    low, high = unit(draw_at(key, cell)), unit(draw_at(key, cell + 1))
    fraction = (counters - cell * period).astype(np.float64) / period
    return low + (high - low) * (fraction * fraction * (3.0 - 2.0 * fraction))


def _smooth(low: int, high: int, period: int) -> NDArray[np.float64]:
    """Smoothstep at low / period … (high − 1) / period."""
    fraction = np.arange(low, high, dtype=np.float64) / period
    return fraction * fraction * (3.0 - 2.0 * fraction)


def grow(exponent: NDArray[np.float64]) -> NDArray[np.float64]:
    """A growth factor close to e**exponent, (1 + x/256)**256 by squaring; for |x| well below 256."""
    base = 1.0 + exponent / 256.0
    for _ in range(8):
        base = base * base
    return base
