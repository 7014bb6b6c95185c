"""What is said in a shell holds for the notifier that runs, at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from livermore_dagster.cli.app import main
from livermore_dagster.stores.postgres.symbols import SymbolRow, upsert_symbols
from tests.integration.notify.conftest import BINANCE, Told, alert, all_in


def shell(arguments: list[str]) -> None:
    """`livermore ARGUMENTS`, which must end well."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code


async def test_a_mute_of_the_shell_takes_effect_live(told: Told, tmp_path: Path) -> None:
    where = {
        "LIVERMORE_HOME": str(tmp_path),
        "LIVERMORE_REDIS_URL": told.redis_url,
        "LIVERMORE_DATABASE_URL": told.database_url,
        "LIVERMORE_PROVENANCE": "live",
        "LIVERMORE_USER": "local:ann",
    }
    for name, value in where.items():
        told.monkeypatch.setenv(name, value)
    async with told.pool.connection() as connection:
        await upsert_symbols(connection, BINANCE, [SymbolRow("AAAUSDT", "AAA", "USDT", True)])
    await told.user(channels=[told.channel("main")])
    async with told.notifier():
        await asyncio.to_thread(shell, ["mute", "binance", "AAAUSDT", "--for", "4h"])
        await told.until_settings_taken()
        await told.raise_alerts(alert(1))
        assert (await told.until_rows(all_in("muted")))[0]["reason"] == "muted: binance AAAUSDT"
        await asyncio.to_thread(shell, ["unmute", "binance", "AAAUSDT"])
        await told.until_settings_taken()
        await told.raise_alerts(alert(2))
        rows = await told.until_rows(lambda rows: len(rows) == 2 and rows[1]["state"] == "sent")
    assert [row["state"] for row in rows] == ["muted", "sent"]
