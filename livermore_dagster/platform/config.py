"""Where a running platform lives: home, servers, provenance; from the environment or from what `up` wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from livermore_dagster.control.process import process_start
from livermore_dagster.errors import BadSetting, NotRunning

__all__ = [
    "DATABASE_CA",
    "DATABASE_URL",
    "ENVIRONMENT",
    "HOME",
    "PROVENANCE",
    "REDIS_URL",
    "USER",
    "Settings",
    "default_home",
    "home_from",
    "market_speed",
    "platform_record",
    "running_home",
]

HOME = "LIVERMORE_HOME"
REDIS_URL = "LIVERMORE_REDIS_URL"
DATABASE_URL = "LIVERMORE_DATABASE_URL"
PROVENANCE = "LIVERMORE_PROVENANCE"
DATABASE_CA = "LIVERMORE_DATABASE_CA"
USER = "LIVERMORE_USER"
ENVIRONMENT = (HOME, REDIS_URL, DATABASE_URL, PROVENANCE, DATABASE_CA, USER)
"""Every variable a service reads. `livermore env` prints them with DAGSTER_HOME."""


@dataclass(frozen=True)
class Settings:
    """What every service needs to find the platform it belongs to."""

    home: Path
    redis_url: str
    database_url: str
    provenance: str
    """'live' or 'sim:SEED' (R13)."""
    database_ca: Path | None = None
    user: str | None = None
    """Sub of who commands of this shell or home act for; --user says another."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Settings from LIVERMORE_* variables; BadSetting names the first one missing."""
        values = os.environ if environment is None else environment

        def needed(name: str) -> str:
            value = values.get(name, "")
            if not value:
                raise BadSetting(
                    f"{name} is not set.", 'Run eval "$(livermore env)" first, or start with `livermore up`.'
                )
            return value

        ca = values.get(DATABASE_CA)
        return cls(
            home=Path(needed(HOME)),
            redis_url=needed(REDIS_URL),
            database_url=needed(DATABASE_URL),
            provenance=check_provenance(needed(PROVENANCE)),
            database_ca=Path(ca) if ca else None,
            user=values.get(USER) or None,
        )

    @classmethod
    def discover(cls, home: Path | None = None) -> Settings:
        """The environment's platform, else the one whose `up` wrote `<home>/run/platform.json`.

        A `home` given beats an environment that speaks of another one.
        """
        stated = os.environ.get(HOME)
        same_home = home is None or (stated is not None and Path(stated).resolve() == home.resolve())
        if same_home and all(os.environ.get(name) for name in ENVIRONMENT[:4]):
            return cls.from_environment()
        for candidate in [home.expanduser().absolute()] if home is not None else _usual_homes():
            record = platform_record(candidate)
            if record is not None and _up_lives(record):
                return cls.from_record(candidate, record)
        where = str(home) if home is not None else " or ".join(str(path) for path in _usual_homes())
        raise NotRunning(f"No platform runs in {where}.", "Start one with `livermore up`.")

    @classmethod
    def from_record(cls, home: Path, record: Mapping[str, object]) -> Settings:
        """Settings out of a platform.json that `up` wrote."""
        ca, user = record.get("database_ca"), os.environ.get(USER) or record.get("user")
        return cls(
            home=home,
            redis_url=str(record["redis_url"]),
            database_url=str(record["database_url"]),
            provenance=check_provenance(str(record["provenance"])),
            database_ca=Path(str(ca)) if ca else None,
            user=str(user) if user else None,
        )

    @property
    def dagster_home(self) -> Path:
        """The one DAGSTER_HOME all Dagster processes of this platform share."""
        return self.home / "dagster"

    @property
    def simulated(self) -> bool:
        return self.provenance.startswith("sim:")

    def environment(self) -> dict[str, str]:
        """What a child process, or a shell, needs to find this platform."""
        from livermore_dagster.platform.dagster_yaml import dagster_environment

        values = {
            HOME: str(self.home),
            REDIS_URL: self.redis_url,
            DATABASE_URL: self.database_url,
            PROVENANCE: self.provenance,
            **dagster_environment(self),
        }
        if self.database_ca is not None:
            values[DATABASE_CA] = str(self.database_ca)
        if self.user is not None:
            values[USER] = self.user
        return values

    def acting_user(self, option: str | None) -> str:
        """Sub of who a command acts for: --user, else the shell's or home's own. Raises BadSetting."""
        if option or self.user:
            return option or str(self.user)
        raise BadSetting(
            "Who is this for? This home has no user of its own.", f"Give --user SUB, or set {USER}."
        )


def check_provenance(value: str) -> str:
    """The stamp itself, if it is one."""
    if value == "live" or (value.startswith("sim:") and len(value) > len("sim:")):
        return value
    raise BadSetting(f"{PROVENANCE} is {value!r}.", "It is 'live' or 'sim:SEED'.")


def default_home(*, simulate: bool) -> Path:
    """~/.livermore, or ~/.livermore-sim: simulated and real data never meet (R13)."""
    return Path.home() / (".livermore-sim" if simulate else ".livermore")


def home_from(option: Path | None, *, simulate: bool) -> Path:
    """The home to start in: the option, else LIVERMORE_HOME, else the default. Absolute."""
    stated = os.environ.get(HOME)
    chosen = option or (Path(stated) if stated else default_home(simulate=simulate))
    return chosen.expanduser().absolute()


def platform_record(home: Path) -> dict[str, object] | None:
    """What `up` wrote about the platform in this home, None when there is none."""
    try:
        record = json.loads((home / "run" / "platform.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadSetting(
            f"{home}/run/platform.json cannot be read: {error}.", "Stop and start the platform."
        ) from error
    if not isinstance(record, dict):
        raise BadSetting(f"{home}/run/platform.json is not an object.", "Stop and start the platform.")
    return record


def market_speed(home: Path) -> float:
    """Market time per real time on the platform in this home."""
    return float(str((platform_record(home) or {}).get("speed", 1.0)))


def running_home(option: Path | None) -> Path:
    """The home a command speaks of: the option, else the first usual one in which a platform runs."""
    if option is not None:
        return option.expanduser().absolute()
    homes = _usual_homes()
    for home in homes:
        if (home / "run" / "processes.json").exists():
            return home
    return homes[0]


def _up_lives(record: Mapping[str, object]) -> bool:
    """The `up` that wrote the record is still there: after a kill -9 its servers end within seconds."""
    return process_start(int(str(record["pid"]))) == record["started"]


def _usual_homes() -> list[Path]:
    stated = os.environ.get(HOME)
    if stated:
        return [Path(stated)]
    return [default_home(simulate=False), default_home(simulate=True)]
