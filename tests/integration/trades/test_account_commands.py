"""Accounts by hand: registered, read, reported, estimated, removed; and as Dagster assets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from livermore_dagster.cli.app import app
from livermore_dagster.clock import SystemClock
from livermore_dagster.definitions import defs
from livermore_dagster.market.decimals import exact
from livermore_dagster.resources import ACCOUNTS, PlatformResource
from livermore_dagster.simulator.clock import Anchor
from livermore_dagster.stores.redis import keys
from livermore_dagster.stores.redis.account_events import read_events
from sensors.account_fills import ACCOUNT_ASSETS, ACCOUNT_TAG, account_sensor
from tests.integration.dagster.conftest import *  # noqa: F403 - its instances
from tests.integration.ingest.played import IDS, Platform, played
from tests.integration.trades.accounts import Sums, create, environment, expected, register, truth, variables

START_MS = 1_767_655_800_000
KEY, SECRET = variables("coinbase")


class World:
    """A market with an account, and commands on it."""

    def __init__(self, platform: Platform, shown: dict[str, str]) -> None:
        self.platform, self.shown = platform, shown

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), catch_exceptions=True)

    def done(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.exit_code == 0, f"{result.output} {result.exception!r}"
        return result.output

    def error(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.exit_code != 0
        return str(result.exception)


@pytest.fixture
def world(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[World]:
    with played(redis_url, database_url, ["coinbase", "binance"], 1.0, START_MS, symbols=40) as platform:
        now_ms = SystemClock().now_ms()
        anchor = Anchor(7, 1.0, now_ms, platform.market_now("coinbase"), START_MS)
        (tmp_path / "market.json").write_text(json.dumps(asdict(anchor)))
        shown = create(platform, "coinbase", "trader", orders=240, symbols=12, days=120)
        for name, value in {
            **environment("coinbase", shown),
            "LIVERMORE_HOME": str(tmp_path),
            "LIVERMORE_REDIS_URL": redis_url,
            "LIVERMORE_DATABASE_URL": database_url,
            "LIVERMORE_PROVENANCE": "sim:7",
            "LIVERMORE_USER": "ana",
        }.items():
            monkeypatch.setenv(name, value)
        yield World(platform, shown)


def test_an_account_from_its_registration_to_its_report(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = register(world.platform, "coinbase")  # makes the user too
    world.done("account", "remove", "coinbase", "--yes")
    assert "There is no account at coinbase" in world.error("fees", "report", "coinbase")
    add = ("account", "add", "coinbase", "--secret-env", SECRET, "--key-env")
    assert world.shown["key"] not in world.error(*add, world.shown["key"]), "pasted by mistake"
    assert "TEST_NOWHERE" in world.error(*add, "TEST_NOWHERE")
    told = world.done(*add, KEY)
    key = f"coinbase.{account + 1}"
    assert f"{key} is registered" in told
    assert f"{key} was registered already" in world.done(*add, KEY)
    assert "--key-env NAME" in world.error("account", "add", "coinbase")
    world.done("settings", "set", "exchanges.coinbase", json.dumps({"key_env": KEY}))
    assert "settings set exchanges.coinbase" in world.error("account", "add", "coinbase")
    world.done("settings", "set", "exchanges.coinbase.secret_env", SECRET)
    assert f"its key is read from {KEY}" in world.done("account", "add", "coinbase")
    assert key in world.done("account", "test", "coinbase")
    other = create(world.platform, "binance", "other", orders=10, symbols=2, days=9)
    for name, value in environment("binance", other).items():
        monkeypatch.setenv(name, value)
    key_env, secret_env = variables("binance")
    binance = ("account", "add", "binance", "--key-env", key_env, "--secret-env", secret_env)
    assert "market by market" in world.error(*binance)
    assert "BTCUSDD" in world.error(*binance, "--markets", "BTCUSDD")

    unread = world.done("portfolio")
    assert "nothing was read yet" in unread
    assert "nothing is held" not in unread
    out = tmp_path / "fees.md"
    found = json.loads(world.done("fees", "report", "coinbase", "--json", "--out", str(out)))
    fills = truth(world.platform, "coinbase", "trader")["fills"]
    assert found["fills"] == len(fills)
    assert sums(found["by_symbol"], "symbol") == expected(fills, "symbol")
    assert_markdown(out.read_text(), found)
    screen = world.done("fees", "report", "coinbase", "--stored")
    for words in ("By symbol and side", "By month (UTC)", "Total", "Fee tier"):
        assert words in screen
    listed = json.loads(world.done("account", "list", "--json"))
    assert [(one["account"], one["fills"], one["key_env"]) for one in listed] == [(key, len(fills), KEY)]

    estimate = json.loads(world.done("fees", "estimate", "BTC-USD", "5,000", "--round-trip", "--json"))
    presets = {one["preset"]: Decimal(one["fee"]) for one in estimate["estimates"]}
    assert set(presets) == {"conservative", "moderate", "optimistic", "history"}
    assert presets["optimistic"] < presets["history"] < presets["conservative"]
    in_dollars = [fill for fill in fills if fill["quote"] == "USD" and fill["liquidity"] != "unknown"]
    made = sum(Decimal(fill["value"]) for fill in in_dollars if fill["liquidity"] == "maker")
    share = made / sum(Decimal(fill["value"]) for fill in in_dollars)
    own = next(one for one in estimate["estimates"] if one["preset"] == "history")["maker_share"]
    assert abs(Decimal(own) - share) < Decimal("1e-11"), "by value, in the symbol's own currency"
    for amount in ("1,5", "5,00", "1,0000", ",500", "1_000"):
        assert "5000 or 5,000.50" in world.error("fees", "estimate", "BTC-USD", amount)
    taker = Decimal(truth(world.platform, "coinbase", "trader")["tier"]["taker_rate"])
    assert presets["conservative"] == 10_000 * taker
    assert "Did you mean BTC-USD" in world.error("fees", "estimate", "BTCUSD", "100")

    folio = json.loads(world.done("portfolio", "--method", "average", "--json"))[0]
    bought = {(one["asset"], one["currency"]) for one in folio["positions"] if one["held_as"] == "bought"}
    assert bought == {(fill["base"], fill["quote"]) for fill in fills}
    assert folio["balances_ms"] is not None, "the report has read them too"
    held = truth(world.platform, "coinbase", "trader")["balances"]
    shown = {one["asset"] for one in folio["positions"]}
    assert shown >= {one["currency"] for one in held if Decimal(one["available"]) + Decimal(one["hold"])}
    screen = world.done("portfolio", "--exchange", "coinbase")
    (dollars,) = [line.split() for line in screen.splitlines() if line.startswith("USD ")]
    assert (dollars[1], "No" in dollars) == ("cash", False), "money has no signal"
    world.platform.execute("DELETE FROM balances")
    world.platform.execute("UPDATE user_exchanges SET balances_read_ms = NULL")
    screen = world.done("portfolio")
    assert "balances never read" in screen
    assert "Sizes are what the fills explain" in screen
    assert "Went out" not in screen
    assert "quicker" in world.error("portfolio", "--method", "quicker")
    with world.platform.redis() as client:
        events = read_events(client, {IDS["coinbase"]: "0"}, 0, 100)
    assert [event.kind for event in events] == ["removed", "added", "added", "added"]


def sums(lines: list[dict[str, Any]], name: str) -> dict[tuple[str, ...], Sums]:
    return {
        (line["quote"], line[name]): (
            line["orders"], line["fills"], Decimal(line["volume"]), Decimal(line["fees"]),
        )
        for line in lines
    }  # fmt: skip


def assert_markdown(text: str, found: dict[str, object]) -> None:
    """The parts of F6: header, three tables with right-aligned numbers, bold totals."""
    lines = text.splitlines()
    assert lines[0] == "# Trading fees on coinbase"
    for name in ("Generated", "Data", "Orders", "Fee tier"):
        assert any(line.startswith(f"- **{name}:** ") for line in lines)
    for title in ("## By symbol", "## By symbol and side", "## By month (UTC)"):
        rule = lines[lines.index(title) + 3]
        assert rule.count(":|") >= 4, "numbers are right-aligned"
    totals = [line for line in lines if line.startswith("| **Total**")]
    assert len(totals) == 3 * len(found["totals"])  # type: ignore[arg-type]
    for line in found["totals"]:  # type: ignore[attr-defined]
        fees = f"{Decimal(line['fees']):,.2f}"
        assert sum(f"**{fees}**" in row for row in totals) == 3, "no rounding but here, and so the same"


def test_a_range_a_currency_and_what_is_wrong_with_them(world: World) -> None:
    register(world.platform, "coinbase")
    by_creation = json.loads(world.done("fees", "report", "coinbase", "--by", "created", "--json"))
    told = truth(world.platform, "coinbase", "trader")
    created = {order["order_id"]: order["created_ms"] for order in told["orders"]}
    moved = [{**fill, "at_ms": created[fill["order_id"]]} for fill in told["fills"]]
    assert sums(by_creation["by_month"], "month") == expected(moved, "month")
    quotes = [line["quote"] for line in by_creation["totals"] if line["quote"] != "USD"]
    if quotes:
        assert "--rate" in world.error("fees", "report", "coinbase", "--stored", "--in", "USD")
    rates = [word for quote in quotes for word in ("--rate", f"{quote}=1.25")]
    whole = json.loads(world.done("fees", "report", "coinbase", "--stored", "--in", "USD", *rates, "--json"))
    with exact():
        fees = sum(
            Decimal(line["fees"]) * (1 if line["quote"] == "USD" else Decimal("1.25"))
            for line in whole["totals"]
        )
    assert Decimal(whole["in_currency"]["fees"]) == fees
    for arguments, words in (
        (("--by", "weekday"), "weekday"),
        (("--since", "yesterday"), "--since"),
        (("--since", "1d", "--until", "2d"), "before --until"),
        (("--in", "USD", "--rate", "EUR"), "EUR"),
        (("--in", "USD", "--rate", "USD=2"), "is 1 USD"),
        (("--in", "USD", "--rate", "EUR=1.1", "--rate", "EUR=1.2"), "given twice"),
        (("--symbol", "NOPE-USD"), "NOPE-USD"),
    ):
        assert words in world.error("fees", "report", "coinbase", "--stored", *arguments)


def test_the_assets_of_an_account(world: World, stored_instance: dg.DagsterInstance) -> None:
    account = register(world.platform, "coinbase")
    key = f"coinbase.{account}"
    stored_instance.add_dynamic_partitions(ACCOUNTS.name or "", [key])
    job = defs.get_repository_def().get_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=stored_instance,
        asset_selection=[dg.AssetKey(path) for path in ACCOUNT_ASSETS],
        partition_key=key,
    )
    assert result.success
    checks = {one.check_name: one.passed for one in result.get_asset_check_evaluations()}
    assert checks == dict.fromkeys(
        (
            "no_page_lost",
            "currencies_known",
            "none_set_aside",
            "orders_agree_with_fills",
            "groupings_agree",
        ),
        True,
    )
    fills = truth(world.platform, "coinbase", "trader")["fills"]
    facts = {
        "/".join(path): result.asset_materializations_for_node("__".join(path))[0].metadata
        for path in ACCOUNT_ASSETS
    }
    assert facts["fills"]["rows new"].value == len(fills)
    assert facts["fees/by_month"]["fills"].value == len(fills)
    assert "data:image/svg+xml" in str(facts["fees/by_month"]["picture"].value)
    assert "# Trading fees on coinbase" in str(facts["fees/report"]["report"].value)
    told = str(facts)
    assert world.shown["secret"] not in told
    assert world.shown["key"] not in told
    world.done("account", "remove", "coinbase", "--yes")
    gone = job.execute_in_process(
        instance=stored_instance, asset_selection=[dg.AssetKey("fills")], partition_key=key,
        raise_on_error=False,
    )  # fmt: skip
    assert not gone.success


def test_the_sensor_starts_one_run_an_account_and_lets_news_wait(
    world: World, stored_instance: dg.DagsterInstance
) -> None:
    account = register(world.platform, "coinbase")
    key = f"coinbase.{account}"

    def tick(cursor: str | None) -> dg.SensorResult:
        context = dg.build_sensor_context(
            stored_instance, cursor=cursor, resources={"platform": PlatformResource()}
        )
        found = account_sensor(context)
        assert isinstance(found, dg.SensorResult)
        return found

    def tell(kind: str) -> None:
        with world.platform.redis() as client:
            entry = {
                "account_id": account,
                "kind": kind,
                "at_ms": 1,
                "symbol": "",
                "order_id": "",
                "fill_id": "",
            }
            client.xadd(keys.account_events(IDS["coinbase"]), entry)

    for kind in ("added", "fill", "fill"):
        tell(kind)
    first = tick(None)
    assert [(one.partition_key, one.tags["dagster-celery/queue"]) for one in first.run_requests or []] == [
        (key, "batch")
    ], "several events are one run; a history to read is no quick work"
    assert first.dynamic_partitions_requests
    stored_instance.add_dynamic_partitions(ACCOUNTS.name or "", [key])
    job = defs.get_repository_def().get_implicit_global_asset_job_def()
    busy = stored_instance.create_run_for_job(job, tags={ACCOUNT_TAG: key})
    tell("fill")
    waits = tick(first.cursor)
    assert not waits.run_requests
    assert waits.skip_reason is not None
    assert key in str(waits.skip_reason.skip_message)
    stored_instance.report_run_canceled(busy)
    after = tick(waits.cursor)
    assert [(one.partition_key, one.tags["dagster-celery/queue"]) for one in after.run_requests or []] == [
        (key, "boundary")
    ]
    tell("removed")
    gone = tick(after.cursor)
    assert not gone.run_requests
    assert gone.dynamic_partitions_requests
