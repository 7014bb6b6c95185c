"""`livermore symbols` as users run it, against a simulated exchange: one request for what is not known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from livermore_dagster.control.claim import Claim
from livermore_dagster.stores.redis import keys
from tests.integration.cli.conftest import Command, Done
from tests.integration.ingest.played import Platform, played, until

MINUTE = 60_000
SIM = {"LIVERMORE_PROVENANCE": "sim:7", "LIVERMORE_USER": "root"}


@pytest.fixture
def market(redis_url: str, database_url: str) -> Iterator[Platform]:
    with played(redis_url, database_url, ["coinbase"], 60.0, 1_767_655_800_000) as platform:
        yield platform


@pytest.fixture
def run(command: Command, market: Platform) -> Command:
    """Commands with three users; the list is read, eight are Tier 1."""

    def as_root(*arguments: str) -> Done:
        return command(*arguments, **SIM)

    assert as_root("user", "add", "root", "--role", "admin").code == 0
    for sub in ("ana", "bo"):
        assert as_root("user", "add", sub, "--role", "user").code == 0
    market.want("coinbase", "stopped", top=8)
    assert as_root("symbols", "refresh", "coinbase").code == 0
    return as_root


def listed(run: Command) -> dict[str, dict[str, Any]]:
    done = run("symbols", "list", "coinbase", "--json")
    assert done.code == 0, done.err
    return {one["symbol"]: one for one in json.loads(done.out)}


def states_beside_an_idle_instance(run: Command, market: Platform, monitored: list[str]) -> set[str]:
    """`monitored`: what it watched before it was stopped."""
    with market.redis() as client:
        claim = Claim(client, 1, "coinbase")
        claim.acquire()
        client.set(keys.monitored(1), json.dumps(monitored))
        states = {one["state"] for one in listed(run).values()}
        claim.release()
        client.delete(keys.monitored(1))
    return states


def requests(market: Platform) -> int:
    return int(market.ask("coinbase", "counters")["requests"])


def test_symbols_are_added_switched_and_removed_with_a_result_each(run: Command, market: Platform) -> None:
    top = listed(run)
    assert [one["rank"] for one in top.values()] == list(range(1, 9))
    assert states_beside_an_idle_instance(run, market, list(top)) == {"chosen"}
    before = requests(market)
    done = run("symbols", "add", "coinbase", "BTC-USDC", "ETH-BTC", "--user", "ana", "--json")
    assert requests(market) == before, "what is in the stored list is not asked"
    results = {one["given"]: one for one in json.loads(done.out)}
    assert results["BTC-USDC"]["symbol"] == "BTC-USD"
    assert "monitored once" in results["BTC-USDC"]["words"]
    assert results["ETH-BTC"]["outcome"] == "added"
    now = listed(run)
    assert now["BTC-USD"]["users"] == ["ana"]
    assert now["BTC-USD"]["tier"] == 1
    assert (now["ETH-BTC"]["tier"], now["ETH-BTC"]["reason"]) == (2, "added")
    assert run("symbols", "disable", "coinbase", "ETH-BTC", "--user", "ana").code == 0
    assert "ETH-BTC" not in listed(run)
    assert run("symbols", "enable", "coinbase", "ETH-BTC", "--user", "ana").code == 0
    assert run("symbols", "add", "coinbase", "ETH-BTC", "--user", "bo").code == 0
    assert run("symbols", "remove", "coinbase", "ETH-BTC", "--user", "ana").code == 0
    assert listed(run)["ETH-BTC"]["users"] == ["bo"], "what another user wants stays"
    missing = run("symbols", "remove", "coinbase", "ETH-BTC", "--user", "ana")
    assert (missing.code, "refused" in missing.out) == (1, True)


def test_a_symbol_that_is_not_there_is_refused_alone_and_nothing_else(run: Command, market: Platform) -> None:
    done = run(
        "symbols", "add", "coinbase", "NEVER-USD", "../time", "SOL/USD", "SOL-USD", "--user", "ana", "--json"
    )
    assert done.code == 1
    results = {one["given"]: one for one in json.loads(done.out)}
    assert [one["outcome"] for one in results.values()] == ["refused", "refused", "refused", "added"]
    assert "Did you mean SOL-USD" in results["SOL/USD"]["words"]
    assert listed(run)["SOL-USD"]["users"] == ["ana"]


def test_files_of_each_kind_are_imported_line_by_line(run: Command, tmp_path: Path) -> None:
    kinds = {
        "list.txt": "SOL-USD\n# mine\nETH-BTC, NEVER-USD\n",
        "list.csv": "exchange,symbol,enabled\ncoinbase,SOL-USD,true\nnasdaq,AAPL,\n,ETH-BTC,no\n"
        "coinbase,ADA-USD,maybe\n",
        "list.json": json.dumps(["SOL-USD", {"symbol": "ETH-BTC", "enabled": False}, 7]),
    }
    expected = {
        "list.txt": [(1, "added"), (3, "added"), (3, "refused")],
        "list.csv": [(2, "unchanged"), (3, "refused"), (4, "disabled"), (5, "refused")],
        "list.json": [(1, "unchanged"), (2, "unchanged"), (3, "refused")],
    }
    for name, text in kinds.items():
        file = tmp_path / name
        file.write_text(text)
        done = run("symbols", "import", str(file), "-e", "coinbase", "--user", "ana", "--json")
        assert [(one["line"], one["outcome"]) for one in json.loads(done.out)] == expected[name], name
        assert done.code == 1
    bad = tmp_path / "bad.csv"
    bad.write_text("symbol,price\nSOL-USD,3\n")
    refused = run("symbols", "import", str(bad), "-e", "coinbase", "--user", "ana")
    assert (refused.code, "price" in refused.err) == (2, True)


def test_a_preview_shows_price_volume_and_change(run: Command) -> None:
    done = run("symbols", "preview", "coinbase", "SOL-USD", "BTC-USDC", "NEVER-USD", "--json")
    assert done.code == 1
    sol, btc, never = json.loads(done.out)
    assert float(sol["price"]) > 0
    assert float(sol["quote_volume_24h_usd"]) > 0
    assert sol["change_24h_pct"] is not None
    assert btc["symbol"] == "BTC-USD"
    assert "Unknown symbol 'NEVER-USD'" in never["error"]


def test_listings_halts_and_ranks_change_what_is_monitored_at_the_next_refresh(
    run: Command, market: Platform
) -> None:
    before = listed(run)
    assert run("symbols", "add", "coinbase", "ETH-BTC", "--user", "ana").code == 0
    first, second, *_, last = list(before)
    door = f"{market.addresses['coinbase']['control_url']}/market"
    for event in (
        {"event": "listing", "base": "FRESH", "quote_volume": 5e9},
        {"event": "delisting", "symbol": second},
        {"event": "halt", "symbol": "ETH-BTC", "minutes": 600},
        {"event": "volume", "symbol": first, "quote_volume": 1.0},
    ):
        httpx.post(door, json=event, timeout=60).raise_for_status()
    at = max(one["at_ms"] for one in market.ask("coinbase", "market"))
    until(lambda: market.market_now("coinbase") > at + MINUTE, 60, "the events' minute")
    asked = requests(market)
    added = run("symbols", "add", "coinbase", "FRESH-USD", "SOL-USD", "--user", "bo")
    assert (added.code, requests(market) - asked) == (0, 1), "only what is not in the stored list is asked"
    told = json.loads(run("symbols", "refresh", "coinbase", "--json").out)
    assert told["listed"] == [], "it was asked for before"
    assert [symbol for symbol in told["delisted"] if not symbol.endswith("-USDC")] == [second]
    assert told["halted"] == ["ETH-BTC"]
    now = listed(run)
    assert now["FRESH-USD"]["rank"] == 1
    assert first not in now
    assert second not in now
    assert last in now
    assert now["ETH-BTC"]["state"] == "halted"
    assert sum(one["state"] == "chosen" for one in now.values()) == 8
    gone = market.query("SELECT symbol FROM exchange_symbols WHERE exchange_id = 1 AND NOT listed")
    assert (second,) in gone
