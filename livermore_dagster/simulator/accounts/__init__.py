"""Simulated accounts: what one has traded, its signed endpoints, its user channel.

`demo_credentials` is all that anyone outside the simulator needs of it; it imports no server.
"""

from __future__ import annotations

from livermore_dagster.simulator.accounts.keys import DEMO_ACCOUNT, KeyType, demo_credentials

__all__ = ["DEMO_ACCOUNT", "KeyType", "demo_credentials"]
