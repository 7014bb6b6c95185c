"""Exponential averages of whole columns at C speed, with nothing but numpy.

A linear recursion is a triangular matrix. Cut into short blocks it is one matrix product, in which the past
of each block enters as a further column; the pasts themselves are the same recursion over the blocks' ends.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["average", "difference", "recursion"]

Floats = NDArray[np.float64]

_BLOCK: Final = 16
"""Rows of a block: longer ones multiply more zeros, shorter ones leave more ends to carry."""
_LOOP: Final = 64
"""Ends below which a plain loop is faster than another level."""
_PIECE: Final = 512
"""Rows BLAS gets at once."""


@cache
def _weights(decay: float, scale: float) -> Floats:
    """Row j: how much value j of a block counts at each place of it."""
    place = np.arange(_BLOCK)
    lag = place[None, :] - place[:, None]
    weights: Floats = np.where(lag >= 0, scale * np.power(decay, np.maximum(lag, 0)), 0.0)
    return weights


@cache
def _past(decay: float) -> Floats:
    """How much what came before a block counts at each place of it."""
    past: Floats = np.power(decay, np.arange(_BLOCK) + 1.0)
    return past


@cache
def _kernel(decay: float, scale: float) -> Floats:
    return np.vstack([_weights(decay, scale), _past(decay)])


@cache
def _difference_kernel(fast: float, slow: float) -> Floats:
    """Places of a block as columns: fast average minus slow one, from the values and from both pasts."""
    apart = _weights(1.0 - fast, fast) - _weights(1.0 - slow, slow)
    return np.vstack([apart, _past(1.0 - fast), -_past(1.0 - slow)])


@cache
def _last(decay: float, scale: float) -> Floats:
    """The kernel's last column on its own, contiguous."""
    return _weights(decay, scale)[:, -1].copy()


def recursion(values: Floats, decay: float, scale: float, before: float, out: Floats | None = None) -> Floats:
    """y = decay × y + scale × x along `values`, with y = `before` at the start. `out` must be contiguous."""
    out = np.empty(len(values)) if out is None else out
    kernel = _kernel(decay, scale)
    count, rest = divmod(len(values), _BLOCK)
    whole = count * _BLOCK
    if count:
        blocks = np.empty((count, _BLOCK + 1))
        blocks[:, :_BLOCK] = own = values[:whole].reshape(count, _BLOCK)
        blocks[0, _BLOCK] = before
        ends = _product(own[:-1], _last(decay, scale), np.empty(count - 1))
        blocks[1:, _BLOCK] = _carry(ends, float(decay**_BLOCK), before)
        _product(blocks, kernel, out[:whole].reshape(count, _BLOCK))
        before = float(out[whole - 1])
    if rest:
        out[whole:] = values[whole:] @ kernel[:rest, :rest] + before * kernel[_BLOCK, :rest]
    return out


def _product(rows: Floats, kernel: Floats, out: Floats) -> Floats:
    """rows @ kernel, in pieces too small for BLAS to spread over threads: waking them costs more."""
    for start in range(0, len(rows), _PIECE):
        np.matmul(rows[start : start + _PIECE], kernel, out=out[start : start + _PIECE])
    return out


def _carry(ends: Floats, shrink: float, before: float) -> Floats | list[float]:
    """The pasts of all blocks but the first, from what each block adds to its end."""
    if len(ends) > _LOOP:
        return recursion(ends, shrink, 1.0, before)
    carried = []
    for end in ends.tolist():
        before = before * shrink + end
        carried.append(before)
    return carried


def average(values: Floats, length: int, alpha: float, out: Floats | None = None) -> Floats:
    """y = y + alpha (x − y), seeded with the mean of the first `length`; running sums before that."""
    out = np.empty(len(values)) if out is None else out
    np.cumsum(values[:length], out=out[:length])
    if len(values) >= length:
        out[length - 1] /= length
        recursion(values[length:], 1.0 - alpha, alpha, float(out[length - 1]), out[length:])
    return out


def difference(values: Floats, fast: float, slow: float, starts: tuple[float, float], out: Floats) -> None:
    """Average with weight `fast` minus average with weight `slow` along `values`, from their `starts`.

    Every block is taken relative to its first value, so that a constant series gives exactly 0.
    """
    count = len(values) // _BLOCK
    whole = count * _BLOCK
    if count:
        body = values[:whole].reshape(count, _BLOCK)
        firsts = body[:, 0].copy()
        hops = np.diff(firsts)
        blocks = np.empty((count, _BLOCK + 2))
        own = blocks[:, :_BLOCK]
        np.subtract(body, firsts[:, None], out=own)
        ends = []
        for column, (alpha, start) in enumerate(zip((fast, slow), starts, strict=True), _BLOCK):
            added = _product(own, _last(1.0 - alpha, alpha), np.empty(count))
            shrink = float((1.0 - alpha) ** _BLOCK)
            blocks[0, column] = start - firsts[0]
            blocks[1:, column] = _carry(added[:-1] - hops, shrink, float(start - firsts[0]))
            ends.append(float(blocks[-1, column] * shrink + added[-1] + firsts[-1]))
        _product(blocks, _difference_kernel(fast, slow), out[:whole].reshape(count, _BLOCK))
        starts = (ends[0], ends[1])
    quick, calm = starts
    for index, value in enumerate(values[whole:].tolist(), whole):
        quick += fast * (value - quick)
        calm += slow * (value - calm)
        out[index] = quick - calm
