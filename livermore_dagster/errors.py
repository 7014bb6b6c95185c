"""Every error Livermore raises on purpose.

LivermoreError
├── UsageError                  the caller gave something that cannot be (exit code 2)
│   ├── UnknownExchange
│   ├── InactiveExchange
│   ├── UnknownSymbol
│   ├── UnknownTimeframe
│   ├── UnsupportedTimeframe    the timeframe exists, the exchange does not have it
│   ├── BadFile
│   ├── BadSetting
│   ├── UnknownUser
│   ├── InactiveUser
│   ├── NobodyStandsBy          a hand-over with no standby to take the exchange
│   ├── NotAllowed              the user's role does not permit it
│   ├── SettingsRefused         a settings document, or a change of it, that does not hold together
│   └── StaleSettings           made from a revision that is not the newest
├── PlatformError               this machine or its servers are not as needed (exit code 1)
│   ├── AccountBusy             another process reads the account
│   ├── AlreadyRunning
│   ├── NotRunning
│   ├── SessionOver             the instance was stopped while it did this
│   ├── ProvenanceMismatch      simulated and live data would meet (R13)
│   ├── PortInUse
│   ├── HomeNotUsable
│   ├── ClusterRefused          a Redis Cluster splits the keys of one Lua call
│   ├── TlsRequired             a PostgreSQL address that would not be encrypted (R5)
│   ├── SchemaDrift
│   └── ToolMissing
├── ExchangeError               an exchange answered, or did not, as it should
│   ├── RateLimited             429 or 418; carries when the budget reopens
│   ├── RequestRefused          a 4xx that repeating will not mend
│   │   ├── CredentialsRefused  the key, its signature or its permissions are not accepted
│   │   ├── ClockSkewed         signed at a time the exchange does not accept, also after measuring its clock
│   │   └── PlaceRefused        451: the exchange does not serve this place
│   ├── ProductListCut          a product list that lacks most of what was known
│   └── ExchangeUnavailable     network, 5xx, malformed body: worth another try
│       └── AccessBlocked       403 with a web page: a firewall before the exchange
└── ClaimError
    ├── ClaimConflict           another instance holds the exchange (R7, N3)
    └── ClaimLost               the claim is no longer this instance's own
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AccessBlocked",
    "AccountBusy",
    "AlreadyRunning",
    "BadFile",
    "BadSetting",
    "ClaimConflict",
    "ClaimError",
    "ClaimLost",
    "ClockSkewed",
    "ClusterRefused",
    "CredentialsRefused",
    "ExchangeError",
    "ExchangeUnavailable",
    "HomeNotUsable",
    "InactiveExchange",
    "InactiveUser",
    "LivermoreError",
    "NobodyStandsBy",
    "NotAllowed",
    "NotRunning",
    "PlaceRefused",
    "PlatformError",
    "PortInUse",
    "ProductListCut",
    "ProvenanceMismatch",
    "RateLimited",
    "RequestRefused",
    "SchemaDrift",
    "SessionOver",
    "SettingsRefused",
    "StaleSettings",
    "TlsRequired",
    "ToolMissing",
    "UnknownExchange",
    "UnknownSymbol",
    "UnknownTimeframe",
    "UnknownUser",
    "UnsupportedTimeframe",
    "UsageError",
]


class LivermoreError(Exception):
    """An expected failure: `message` says what is wrong, `advice` what to do about it."""

    exit_code = 1

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message if not advice else f"{message} {advice}")
        self.message = message
        self.advice = advice


class UsageError(LivermoreError):
    exit_code = 2


def _choices(known: Iterable[str]) -> str:
    names = list(known)
    shown = ", ".join(names[:12])
    return f"{shown}, … ({len(names)} in all)" if len(names) > 12 else shown


def _near(symbol: str, names: list[str]) -> list[str]:
    """The known symbol that is the same but for case and separators (btc/usdt is BTCUSDT), else similar."""

    def bare(name: str) -> str:
        return "".join(letter for letter in name.upper() if letter.isalnum())

    same = [name for name in names if bare(name) == bare(symbol)]
    return same[:1] or difflib.get_close_matches(symbol.upper(), names, n=3, cutoff=0.7)


class UnknownExchange(UsageError):
    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"Unknown exchange {name!r}.", f"Known exchanges: {_choices(known)}.")


class InactiveExchange(UsageError):
    def __init__(self, name: str, active: Iterable[str]) -> None:
        super().__init__(
            f"Exchange {name!r} is not active: it has no adapter here yet.",
            f"Active exchanges: {_choices(active)}.",
        )


class UnknownSymbol(UsageError):
    def __init__(self, symbol: str, exchange: str, known: Iterable[str]) -> None:
        names = list(known)
        near = _near(symbol, names)
        advice = f"Symbols there: {_choices(names)}." if names else "No symbol of it is known yet: start it."
        if near:
            advice = f"Did you mean {' or '.join(near)}? {advice}"
        super().__init__(f"Unknown symbol {symbol!r} on {exchange}.", advice)


class UnknownTimeframe(UsageError):
    def __init__(self, timeframe: str, known: Iterable[str]) -> None:
        super().__init__(f"Unknown timeframe {timeframe!r}.", f"Timeframes: {_choices(known)}.")


class UnsupportedTimeframe(UsageError):
    def __init__(self, timeframe: str, exchange: str, supported: Iterable[str]) -> None:
        super().__init__(
            f"{exchange} has no {timeframe} candles here.",
            f"Its timeframes: {_choices(supported)}. Livermore never derives one from another.",
        )


class BadFile(UsageError):
    pass


class BadSetting(UsageError):
    pass


class UnknownUser(UsageError):
    def __init__(self, sub: str, known: Iterable[str]) -> None:
        names = list(known)
        advice = f"Users: {_choices(names)}." if names else "There is none yet: livermore user add."
        super().__init__(f"Unknown user {sub!r}.", advice)


class InactiveUser(UsageError):
    def __init__(self, sub: str) -> None:
        super().__init__(f"User {sub!r} is disabled.", "An admin may enable it again: livermore user enable.")


class NobodyStandsBy(UsageError):
    def __init__(self, exchange: str) -> None:
        super().__init__(
            f"No standby waits for {exchange}: there is nobody to hand it over to.",
            f"Start a second home on the same Redis and PostgreSQL: livermore up --autostart {exchange}",
        )


class NotAllowed(UsageError):
    pass


class SettingsRefused(UsageError):
    """`problems`: (path, value as JSON, rule) of each part that does not hold; nothing was changed."""

    def __init__(self, problems: Iterable[tuple[str, str, str]]) -> None:
        self.problems = tuple(problems)
        lines = [f"{path} is {value}: {rule}" for path, value, rule in self.problems]
        super().__init__(f"The settings were refused and are as they were. {'; '.join(lines)}.")


class StaleSettings(UsageError):
    def __init__(self, sub: str, made_from: int, newest: int) -> None:
        super().__init__(
            f"The settings of {sub!r} are at revision {newest}; this change was made from {made_from}.",
            "Read them again, apply the change to what they are now, and write that.",
        )


class PlatformError(LivermoreError):
    pass


class AccountBusy(PlatformError):
    pass


class AlreadyRunning(PlatformError):
    pass


class NotRunning(PlatformError):
    pass


class SessionOver(PlatformError):
    pass


class ProvenanceMismatch(PlatformError):
    """`advice`: for a command that only reads; a start gets its own."""

    def __init__(self, place: str, found: str, wanted: str, advice: str = "") -> None:
        if advice:
            super().__init__(f"{place} holds {found!r} data, the settings say {wanted!r}.", advice)
            return
        advice = "Simulated and live data never share a home, database or Redis: choose another with --home."
        if found.startswith("sim:") and wanted.startswith("sim:"):
            seed = found.removeprefix("sim:")
            advice = f"Every seed is a market of its own: start with --seed {seed}, or choose another --home."
        super().__init__(f"{place} holds {found!r} data, this start is {wanted!r}.", advice)


class PortInUse(PlatformError):
    pass


class HomeNotUsable(PlatformError):
    pass


class ClusterRefused(PlatformError):
    pass


class TlsRequired(PlatformError):
    exit_code = 2


class SchemaDrift(PlatformError):
    pass


class ToolMissing(PlatformError):
    pass


class ExchangeError(LivermoreError):
    pass


class RateLimited(ExchangeError):
    """429 or 418. `retry_at_ms` is wall-clock epoch ms at which the budget reopens."""

    def __init__(self, message: str, retry_at_ms: int, status: int = 429) -> None:
        super().__init__(message)
        self.retry_at_ms = retry_at_ms
        self.status = status


class RequestRefused(ExchangeError):
    """`status` is the HTTP status, `code` the exchange's own error text or number."""

    def __init__(self, message: str, status: int, code: str = "", advice: str = "") -> None:
        super().__init__(message, advice)
        self.status = status
        self.code = code


class CredentialsRefused(RequestRefused):
    def __init__(self, exchange: str, status: int, code: str = "") -> None:
        super().__init__(
            f"{exchange} does not accept this account's key: {code.rstrip('. ') or f'HTTP {status}'}.",
            status,
            code,
            "Check that both variables belong to the same key, that the key is active and may read (view) "
            "the account, and that its IP list, if it has one, names this machine.",
        )


class ClockSkewed(RequestRefused):
    """`offset_ms` is how far the exchange's clock was found ahead of this machine's."""

    def __init__(self, exchange: str, status: int, code: str, offset_ms: int) -> None:
        super().__init__(
            f"{exchange} refuses the time of signed requests: {code or f'HTTP {status}'}. Its clock was "
            f"found {offset_ms:+d} ms from this machine's.",
            status,
            code,
            "Let the machine set its clock (timedatectl set-ntp true).",
        )
        self.offset_ms = offset_ms


class PlaceRefused(RequestRefused):
    """HTTP 451."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message, 451, "", advice)


class ExchangeUnavailable(ExchangeError):
    pass


class ProductListCut(ExchangeError):
    """A product list that lacks most of what was known. `count`: products in it; nothing of it is kept."""

    def __init__(self, exchange: str, count: int, lost: int, known: int) -> None:
        super().__init__(
            f"{exchange}'s product list lacks {lost} of {known} known products: it is taken for cut off.",
            "The list known before stays in use. It is asked for again, and believed when it says so twice.",
        )
        self.count = count


class AccessBlocked(ExchangeUnavailable):
    """403 with a web page: a firewall before the exchange. It may pass, so it is tried again, in bounds."""


class ClaimError(LivermoreError):
    pass


class ClaimConflict(ClaimError):
    pass


class ClaimLost(ClaimError):
    pass
