"""Lists of symbols as files: CSV with a header, JSON, or one symbol a line (U4)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from livermore_dagster.errors import BadFile

__all__ = ["SymbolLine", "read_symbol_list"]

_COLUMNS: Final = ("exchange", "symbol", "enabled")
_YES: Final = frozenset({"", "1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class SymbolLine:
    """One entry. `number`: its line, or place in a JSON list, from 1. `problem`: why it says nothing."""

    number: int
    symbol: str = ""
    exchange: str = ""
    enabled: bool = True
    problem: str = ""


def read_symbol_list(text: str, name: str) -> list[SymbolLine]:
    """Entries in their order. `name` is named in errors.

    A CSV's header names `symbol`, and `exchange` and `enabled` if it likes. JSON is a list of names or of
    objects with those keys, or what settings hold: exchange → symbol → {enabled}. Raises BadFile for none of
    these.
    """
    start = text.lstrip("\ufeff \t\r\n")[:1]
    if start in ("[", "{"):
        lines = list(_from_json(text.lstrip("\ufeff"), name))
    elif "symbol" in [word.strip().lower() for word in _first_line(text).split(",")]:
        lines = list(_from_csv(text, name))
    else:
        lines = list(_from_words(text))
    if not lines:
        raise BadFile(f"{name} names no symbol.", "Write one a line, or CSV with the header exchange,symbol.")
    return lines


def _first_line(text: str) -> str:
    return next((line for line in text.lstrip("\ufeff").splitlines() if line.strip()), "")


def _from_words(text: str) -> Iterator[SymbolLine]:
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        yield from (SymbolLine(number, word) for word in words)


def _from_csv(text: str, name: str) -> Iterator[SymbolLine]:
    reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff")), skipinitialspace=True)
    header = [(column or "").strip().lower() for column in reader.fieldnames or []]
    unknown = sorted(set(header) - set(_COLUMNS))
    if unknown:
        raise BadFile(
            f"{name} has columns that mean nothing here: {', '.join(unknown)}.",
            f"There are {', '.join(_COLUMNS)}.",
        )
    reader.fieldnames = header
    for row in reader:
        number = reader.line_num
        if None in row:
            yield SymbolLine(number, problem=f"more than the header's {len(header)} columns")
            continue
        yield _line(number, {column: (value or "").strip() for column, value in row.items()})


def _from_json(text: str, name: str) -> Iterator[SymbolLine]:
    try:
        whole = json.loads(text)
    except ValueError as error:
        raise BadFile(f"{name} is not JSON: {error}.", "Give a list of symbols.") from None
    if isinstance(whole, dict):
        whole = whole.get("symbols", whole)
    if isinstance(whole, dict):
        entries: list[Any] = []
        for exchange, symbols in whole.items():
            if not isinstance(symbols, dict | list):
                raise BadFile(
                    f"{name}: {exchange} holds {json.dumps(symbols)[:40]}.", "It must hold a list of symbols."
                )
            own = symbols.items() if isinstance(symbols, dict) else ((symbol, {}) for symbol in symbols)
            entries += [
                {
                    "exchange": exchange,
                    "symbol": symbol,
                    **(one if isinstance(one, dict) else {"enabled": one}),
                }
                for symbol, one in own
            ]
        whole = entries
    for number, entry in enumerate(whole, start=1):
        if isinstance(entry, str):
            yield SymbolLine(number, entry.strip()) if entry.strip() else SymbolLine(number, problem="empty")
        elif isinstance(entry, dict):
            unknown = sorted(set(entry) - set(_COLUMNS))
            yield (
                SymbolLine(number, problem=f"unknown: {', '.join(unknown)}")
                if unknown
                else _line(number, entry)
            )
        else:
            yield SymbolLine(number, problem=f"{json.dumps(entry)[:40]} is neither a name nor an object")


def _line(number: int, entry: dict[str, Any]) -> SymbolLine:
    symbol, exchange = entry.get("symbol", ""), entry.get("exchange") or ""
    if not isinstance(symbol, str) or not isinstance(exchange, str):
        return SymbolLine(number, problem="exchange and symbol must be text")
    if not symbol.strip():
        return SymbolLine(number, problem="no symbol")
    said = str(entry.get("enabled", "")).strip().lower()
    if said not in _YES | _NO:
        return SymbolLine(
            number, symbol, exchange, problem=f"enabled is {entry['enabled']!r}; it is true or false"
        )
    return SymbolLine(number, symbol.strip(), exchange.strip(), said in _YES)
