"""Where the two stores are."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

__all__ = ["Servers"]


class Servers(Protocol):
    """Addresses of Redis and PostgreSQL (platform.config.Settings is one)."""

    @property
    def redis_url(self) -> str: ...
    @property
    def database_url(self) -> str: ...
    @property
    def database_ca(self) -> Path | None: ...
