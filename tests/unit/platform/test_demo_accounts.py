"""Keys of simulated accounts in the shell."""

from __future__ import annotations

import os

import pytest

from livermore_dagster.platform.demo_accounts import shell_environment


def test_a_shell_gets_a_simulations_keys_and_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"SIMULATED_BINANCE_KEY": "mine"})
    assert shell_environment("live") == {"SIMULATED_BINANCE_KEY": "mine"}
    simulated = shell_environment("sim:7")
    assert simulated["SIMULATED_BINANCE_KEY"] == "mine"
    assert "PRIVATE KEY" in simulated["SIMULATED_COINBASE_SECRET"]
    assert os.environ == {"SIMULATED_BINANCE_KEY": "mine"}
