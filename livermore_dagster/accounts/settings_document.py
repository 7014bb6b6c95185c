"""A user's settings: one JSON document, versioned, validated as a whole, nothing in it ignored (U3).

Secrets never stand in it: what is secret is the name of an environment variable (R8). Alert settings only
narrow what a user is told; what is computed and stored is the same for everyone.

Documents enter as JSON text (`SettingsDocument.model_validate_json`): validation is strict, and only JSON has
its own words for tuples, times and timeframes.
"""

from __future__ import annotations

from datetime import time
from typing import Annotated, Final, Literal
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from livermore_dagster.exchanges.credentials import VARIABLE_NAME
from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.market.alert_rules import LEVELS
from livermore_dagster.market.timeframe import Timeframe

__all__ = [
    "DOCUMENT_VERSION",
    "MOST_SYMBOLS",
    "AlertSettings",
    "ChannelSettings",
    "ExchangeSettings",
    "LogLevel",
    "Mute",
    "ProfileSettings",
    "QuietHours",
    "RuntimeSettings",
    "ScannerSettings",
    "SettingsDocument",
    "SymbolSetting",
]

MOST_SYMBOLS: Final = 10_000
"""A user's own additions, over all exchanges."""
DOCUMENT_VERSION: Final = 2
"""accounts.migrations makes older documents what this one is."""

_EXCHANGES: Final = tuple(row.name for row in ROWS)
_LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999, after which no calendar goes."""


def _known_exchange(name: str) -> str:
    if name not in _EXCHANGES:
        raise ValueError(f"there is no such exchange; known are {', '.join(_EXCHANGES)}")
    return name


Exchange = Annotated[str, AfterValidator(_known_exchange)]
EnvironmentName = Annotated[str, StringConstraints(pattern=VARIABLE_NAME)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
Symbol = Annotated[str, StringConstraints(min_length=1, max_length=60)]
LogLevel = Literal["debug", "info", "warning", "error"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class _Part(BaseModel):
    """Unknown keys are refused with their path; a value is never bent into another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ProfileSettings(_Part):
    public_name: Name | None = None
    description: Annotated[str, StringConstraints(max_length=2_000)] = ""
    primary_exchange: Exchange | None = None
    trading_mode: Literal["paper", "live"] = "paper"
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{2,10}$")] = "USD"
    time_zone: str = "UTC"
    locale: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = "en"

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is no time zone of the IANA database, such as 'Europe/Berlin'")
        return value


class RuntimeSettings(_Part):
    """What an instance started for this user does."""

    autostart: tuple[Exchange, ...] = ()
    timeframes: tuple[Timeframe, ...] = Field(default=tuple(Timeframe), min_length=1)
    log_level: LogLevel = "info"
    """Of the process that runs the instance, unless LIVERMORE_LOG_LEVEL says otherwise there."""
    mode: Literal["position-monitor", "scalper-macdv"] = "scalper-macdv"
    """At the platform's start, where these settings start the exchange; then it is switched by a command."""


class ExchangeSettings(_Part):
    """Names of the environment variables that hold an account's key and secret, never those themselves: those
    that `account add` takes where it is given none."""

    enabled: bool = True
    key_env: EnvironmentName | None = None
    secret_env: EnvironmentName | None = None


class SymbolSetting(_Part):
    """An own addition (Tier 2)."""

    enabled: bool = True


class QuietHours(_Part):
    """No notification from `start` to `end` in the profile's time zone; over midnight where end ≤ start.

    `days` are those on which the span begins.
    """

    start: time
    end: time
    days: tuple[Weekday, ...] = Field(default=("mon", "tue", "wed", "thu", "fri", "sat", "sun"), min_length=1)

    @field_validator("start", "end")
    @classmethod
    def _local(cls, value: time) -> time:
        if value.tzinfo is not None:
            raise ValueError("a time of quiet hours has no offset: it is local to profile.time_zone")
        return value


class Mute(_Part):
    """Silences what matches everything it names, until `until_ms` (epoch ms) or for good."""

    exchange: Exchange | None = None
    symbol: Symbol | None = None
    timeframe: Timeframe | None = None
    until_ms: int | None = Field(default=None, ge=0, le=_LAST_MS)

    @model_validator(mode="after")
    def _names_something(self) -> Mute:
        if self.exchange is None and self.symbol is None and self.timeframe is None:
            raise ValueError("a mute names an exchange, a symbol or a timeframe; to mute all: alerts.enabled")
        return self

    def silences(self, exchange: str, symbol: str, timeframe: str, now_ms: int) -> bool:
        """Whether it is in force and matches. `now_ms`: wall clock."""
        if self.until_ms is not None and now_ms >= self.until_ms:
            return False
        named = (self.exchange, exchange), (self.symbol, symbol), (self.timeframe, timeframe)
        return all(wanted is None or wanted == found for wanted, found in named)


class ChannelSettings(_Part):
    """A place notifications go to. `url_env` names the environment variable that holds its address."""

    name: Name
    kind: Literal["discord", "apprise"]
    url_env: EnvironmentName
    enabled: bool = True
    chart: bool = True


class AlertSettings(_Part):
    enabled: bool = True
    exchanges: tuple[Exchange, ...] | None = None
    """None: every exchange that runs."""
    timeframes: tuple[Timeframe, ...] = Field(default=tuple(Timeframe), min_length=1)
    levels: tuple[int, ...] = Field(default=tuple(sign * level for level in LEVELS for sign in (-1, 1)))
    """Which level alerts are told: of ±150, ±200 … ±400."""
    reversals: bool = True
    oversold_buffer_pct: float = Field(default=5.0, ge=5.0, le=100.0)
    """A reversal is told where its histogram exceeds this share of |MACD-V|; the rules ask 5 and 3 %."""
    overbought_buffer_pct: float = Field(default=3.0, ge=3.0, le=100.0)
    cooldown_s: int = Field(default=300, ge=300, le=86_400)
    """At least so long between two notifications of one symbol, timeframe and label; event time."""
    quiet_hours: tuple[QuietHours, ...] = Field(default=(), max_length=50)
    mutes: tuple[Mute, ...] = Field(default=(), max_length=1_000)
    channels: tuple[ChannelSettings, ...] = Field(default=(), max_length=20)
    simulated: bool = False
    """Notifications of a simulation leave, titled SIMULATED (R13)."""

    @field_validator("levels")
    @classmethod
    def _known_levels(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        known = {sign * level for level in LEVELS for sign in (-1, 1)}
        wrong = sorted(set(value) - known)
        if wrong:
            raise ValueError(f"{wrong} are no levels; there are ±{', ±'.join(map(str, LEVELS))}")
        return value

    @field_validator("channels")
    @classmethod
    def _names_once(cls, value: tuple[ChannelSettings, ...]) -> tuple[ChannelSettings, ...]:
        names = [channel.name for channel in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"channel names must differ; {', '.join(twice)} stands there more than once")
        return value


class ScannerSettings(_Part):
    """The Tier 1 list: the exchange's top `top_n` by volume, and when it was last made."""

    exchange: Exchange | None = None
    top_n: int = Field(default=50, ge=1, le=1_000)
    last_update_ms: int | None = Field(default=None, ge=0, le=_LAST_MS)


class SettingsDocument(_Part):
    version: Literal[2] = DOCUMENT_VERSION
    profile: ProfileSettings = ProfileSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    exchanges: dict[Exchange, ExchangeSettings] = Field(default_factory=dict)
    symbols: dict[Exchange, dict[Symbol, SymbolSetting]] = Field(default_factory=dict)
    """Exchange → the exchange's own id of a product → what is set of it."""
    alerts: AlertSettings = AlertSettings()
    scanner: ScannerSettings = ScannerSettings()

    @field_validator("symbols")
    @classmethod
    def _not_too_many(cls, value: dict[str, dict[str, SymbolSetting]]) -> dict[str, dict[str, SymbolSetting]]:
        count = sum(map(len, value.values()))
        if count > MOST_SYMBOLS:
            raise ValueError(f"{count:,} symbols; there may be {MOST_SYMBOLS:,}")
        return value

    def trades_at(self, exchange: str) -> bool:
        """Whether the user has not switched this exchange off."""
        return self.exchanges.get(exchange, ExchangeSettings()).enabled

    def symbols_at(self, exchange: str) -> list[str]:
        """Enabled additions, by name."""
        return sorted(symbol for symbol, one in self.symbols.get(exchange, {}).items() if one.enabled)
