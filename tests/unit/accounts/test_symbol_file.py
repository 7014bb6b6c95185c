"""Lists of symbols from files, and searching a product list."""

from __future__ import annotations

import json

import pytest

from livermore_dagster.accounts.symbol_file import SymbolLine, read_symbol_list
from livermore_dagster.accounts.symbols import search
from livermore_dagster.errors import BadFile
from livermore_dagster.stores.postgres.symbols import SymbolRow


def test_words_are_symbols_but_for_comments() -> None:
    found = read_symbol_list("\ufeffBTC-USD\n\n# mine\nETH-USD, SOL-USD # both\n", "a.txt")
    assert [(one.number, one.symbol) for one in found] == [(1, "BTC-USD"), (4, "ETH-USD"), (4, "SOL-USD")]


def test_a_csv_says_exchange_and_whether_it_is_on() -> None:
    found = read_symbol_list(
        "Symbol,Exchange,Enabled\nBTC-USD,coinbase,no\nETH-USD,,\nX,y,1,2\n,,\n", "a.csv"
    )
    assert found[:2] == [
        SymbolLine(2, "BTC-USD", "coinbase", enabled=False),
        SymbolLine(3, "ETH-USD", "", enabled=True),
    ]
    assert [(one.number, bool(one.problem)) for one in found[2:]] == [(4, True), (5, True)]


@pytest.mark.parametrize(
    "whole",
    [
        {"symbols": {"coinbase": {"BTC-USD": {"enabled": False}}}},
        {"coinbase": {"BTC-USD": False}},
        [{"exchange": "coinbase", "symbol": "BTC-USD", "enabled": False}],
    ],
)
def test_json_of_each_shape_says_the_same(whole: object) -> None:
    expected = [SymbolLine(1, "BTC-USD", "coinbase", enabled=False)]
    assert read_symbol_list(json.dumps(whole), "a.json") == expected


@pytest.mark.parametrize("text", ["", "# nothing\n", "[1", '{"coinbase": 3}', "symbol,price\nA,1\n"])
def test_what_is_no_list_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadFile, match=r"mine\.x"):
        read_symbol_list(text, "mine.x")


def test_search_puts_the_exact_base_first_then_the_most_traded() -> None:
    rows = [
        SymbolRow("SOLV-USD", "SOLV", "USD", True, volume_rank=1),
        SymbolRow("SOL-USD", "SOL", "USD", True, volume_rank=3),
        SymbolRow("GONE-SOL", "GONE", "SOL", False, listed=False),
        SymbolRow("SOL-EUR", "SOL", "EUR", True),
    ]
    assert [row.symbol for row in search(rows, "sol", 9)] == ["SOL-USD", "SOL-EUR", "SOLV-USD"]
    assert [row.symbol for row in search(rows, "sol/usd", 1)] == ["SOL-USD"]
