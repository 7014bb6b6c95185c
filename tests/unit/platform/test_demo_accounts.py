"""Keys of simulated accounts in the shell."""

from __future__ import annotations

import os

import pytest

from livermore_dagster.platform.demo_accounts import lend_demo_keys


def test_a_shell_gets_a_simulations_keys_and_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"SIMULATED_BINANCE_KEY": "mine"})
    lend_demo_keys("live")
    assert os.environ == {"SIMULATED_BINANCE_KEY": "mine"}
    lend_demo_keys("sim:7")
    assert os.environ["SIMULATED_BINANCE_KEY"] == "mine"
    assert "PRIVATE KEY" in os.environ["SIMULATED_COINBASE_SECRET"]
