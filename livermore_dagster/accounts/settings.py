"""Settings as a service: read, replace, patch, compare; each write whole, validated, audited, told (U3)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio
import structlog
from psycopg import AsyncConnection
from pydantic import ValidationError

from livermore_dagster.accounts.migrations import migrated
from livermore_dagster.accounts.settings_document import SettingsDocument
from livermore_dagster.accounts.users import require_user
from livermore_dagster.errors import InactiveUser, SettingsRefused, StaleSettings
from livermore_dagster.stores.postgres.user_settings import (
    SettingsChange,
    StoredSettings,
    lock_settings,
    read_active_settings,
    write_settings,
)
from livermore_dagster.stores.redis import keys

__all__ = [
    "WHOLE",
    "UserSettings",
    "amend",
    "differences",
    "load",
    "load_active",
    "parse_document",
    "patch",
    "replace",
    "tell_changed",
]

log = structlog.get_logger(__name__)

WHOLE: Final = "(the whole document)"
"""Path in the audit of a document that could not be read, and was replaced."""
_LONGEST_VALUE: Final = 200
_HIDDEN: Final = "(hidden)"
_LONGEST_WORD: Final = 32
"""Keys and tokens are longer than this and without a space; names and symbols are not."""


@dataclass(frozen=True, slots=True)
class UserSettings:
    """An active user's settings. `revision` 0: never written, all as the document's defaults say."""

    user_id: int
    sub: str
    display_name: str
    role: str
    revision: int
    document: SettingsDocument


async def load_active(connection: AsyncConnection[Any]) -> list[UserSettings]:
    """Of every active user, by id; without those whose stored settings this program cannot read.

    One user's trouble, after a change of versions say, leaves no other unwatched and untold.
    """
    found = []
    for stored in await read_active_settings(connection):
        try:
            found.append(_typed(stored))
        except SettingsRefused as error:
            log.error("settings_unreadable", user=stored.sub, error=error.message)
    return found


async def load(connection: AsyncConnection[Any], sub: str) -> UserSettings:
    """Raises UnknownUser and InactiveUser."""
    user = await require_user(connection, sub)
    for stored in await read_active_settings(connection, sub):
        if stored.user_id == user.id:
            return _typed(stored)
    raise InactiveUser(sub)  # since just now


def parse_document(text: str) -> SettingsDocument:
    """The document that this JSON is, of any version there was.

    Raises SettingsRefused with path, value and rule of each fault.
    """
    try:
        return SettingsDocument.model_validate_json(migrated(text))
    except ValidationError as error:
        raise SettingsRefused(_problems(error)) from None


async def replace(
    connection: AsyncConnection[Any],
    client: redis.asyncio.Redis,
    sub: str,
    text: str,
    *,
    by: str,
    made_from: int | None = None,
) -> UserSettings:
    """Makes `text` the document. `made_from`: the revision it was made from, None to overwrite whatever is.

    Also where what is stored cannot be read, which nothing else could mend: the audit keeps it whole.
    Commits. Raises UnknownUser, InactiveUser, SettingsRefused or StaleSettings; nothing is changed then.
    """
    document = parse_document(text)
    return await _write(connection, client, sub, lambda _: document, by, made_from, whatever_is=True)


async def patch(
    connection: AsyncConnection[Any],
    client: redis.asyncio.Redis,
    sub: str,
    path: str,
    value: object,
    *,
    by: str,
    made_from: int | None = None,
) -> UserSettings:
    """Changes one path, `alerts.cooldown_s` or `symbols.0.enabled`; the whole document is validated.

    `value` is what JSON can hold. Errors as `replace`.
    """

    def changed(document: SettingsDocument) -> SettingsDocument:
        whole = document.model_dump(mode="json")
        _put(whole, path, value)
        return parse_document(json.dumps(whole))

    return await _write(connection, client, sub, changed, by, made_from)


async def amend(
    connection: AsyncConnection[Any],
    client: redis.asyncio.Redis,
    sub: str,
    change: Callable[[SettingsDocument], SettingsDocument],
    *,
    by: str,
) -> UserSettings:
    """Makes the document what `change` makes of the one there is now. Errors as `replace`.

    `change` gives a document that parse_document has seen, or raises.
    """
    return await _write(connection, client, sub, change, by, None)


async def _write(
    connection: AsyncConnection[Any],
    client: redis.asyncio.Redis,
    sub: str,
    change: Callable[[SettingsDocument], SettingsDocument],
    by: str,
    made_from: int | None,
    *,
    whatever_is: bool = False,
) -> UserSettings:
    """`whatever_is`: `change` does not look at what it is given, so that need not be readable."""
    async with connection.transaction():
        user = await require_user(connection, sub)
        revision, text = await lock_settings(connection, user.id)
        if made_from is not None and made_from != revision:
            raise StaleSettings(sub, made_from, revision)
        before = _readable(text) if whatever_is else _parsed(text)
        after = change(before or SettingsDocument())
        changes = [
            SettingsChange(revision + 1, path, _json(old), _json(new), by)
            for path, old, new in differences(before or SettingsDocument(), after)
        ]
        if before is None:
            changes = [SettingsChange(revision + 1, WHOLE, text, after.model_dump_json(), by)]
        if changes or text is None:
            revision += 1
            await write_settings(connection, user.id, sub, after.model_dump_json(), changes)
    await connection.commit()
    await tell_changed(client, user.id, sub, revision)
    return UserSettings(user.id, sub, user.display_name, user.role, revision, after)


def _parsed(text: str | None) -> SettingsDocument:
    return parse_document(text) if text is not None else SettingsDocument()


def _readable(text: str | None) -> SettingsDocument | None:
    """None for a stored document that this program cannot read."""
    try:
        return _parsed(text)
    except SettingsRefused:
        return None


async def tell_changed(
    client: redis.asyncio.Redis, user_id: int, sub: str, revision: int | None = None
) -> None:
    """To be called after the commit, so that who hears of it reads what is new.

    A service that was away reads at its start. `revision` None: the user himself changed, not his settings.
    """
    told = {"user_id": user_id, "sub": sub, "revision": revision}
    await client.publish(keys.CHANNEL_SETTINGS, json.dumps(told))


def differences(
    before: SettingsDocument, after: SettingsDocument
) -> list[tuple[str, object | None, object | None]]:
    """(path, before, after) of each part that differs, as JSON can hold it; None where there is none."""
    old = dict(_leaves(before.model_dump(mode="json")))
    new = dict(_leaves(after.model_dump(mode="json")))
    paths = [*old, *(path for path in new if path not in old)]
    return [(path, old.get(path), new.get(path)) for path in paths if old.get(path) != new.get(path)]


def _leaves(part: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Values with their paths; a list is one value, so that its removal or reordering reads as what it is."""
    if isinstance(part, dict) and part:
        for name, inner in part.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name))
    else:
        yield path, part


def _put(whole: dict[str, Any], path: str, value: object) -> None:
    """Sets one path of a dumped document. Raises SettingsRefused for a path that is not there."""
    *parents, last = path.split(".")
    place: Any = whole
    try:
        for name in parents:
            place = place[_index(name)] if isinstance(place, list) else place[name]
        if isinstance(place, list):
            place[_index(last)] = value
        else:
            # An unknown name too: validation refuses it with its path, or takes it (a key of a map).
            place[last] = value
    except (KeyError, IndexError, ValueError, TypeError):
        rule = "there is no such path; livermore settings get shows all of them"
        raise SettingsRefused([(_unless_secret(path), _shown(path, value), rule)]) from None


def _index(text: str) -> int:
    """Counted from 0. Raises ValueError for anything else, -1 too: what stands last may soon be another."""
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(text)
    return int(text)


def _problems(error: ValidationError) -> Iterator[tuple[str, str, str]]:
    for one in error.errors(include_url=False, include_context=False):
        path = ".".join(_unless_secret(str(part)) for part in one["loc"]) or "the document"
        if one["type"] == "json_invalid":
            yield path, "not JSON", one["msg"]
        elif one["type"] == "extra_forbidden":
            yield (
                path,
                _shown(path, one.get("input")),
                "there is no such setting (livermore settings get shows all)",
            )
        else:
            yield path, _shown(path, one.get("input")), one["msg"].removeprefix("Value error, ")


def _shown(path: str, value: object) -> str:
    """A refused value for its sender, without what may be a key pasted in place of a name."""
    text = json.dumps(_without_secrets(path.rpartition(".")[2], value), default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _without_secrets(name: str, value: object) -> object:
    match value:
        case dict():
            return {
                _unless_secret(str(key)): _without_secrets(str(key), inner) for key, inner in value.items()
            }
        case list() | tuple():
            return [_without_secrets(name, inner) for inner in value]
        case str() if name.endswith("_env") or _unless_secret(value) != value:
            return _HIDDEN
        case _:
            return value


def _unless_secret(word: str) -> str:
    """The word, unless it looks like an address or a key."""
    secret = "://" in word or any(len(part) > _LONGEST_WORD for part in word.split())
    return _HIDDEN if secret else word


def _json(value: object | None) -> str | None:
    return None if value is None else json.dumps(value)


def _typed(stored: StoredSettings) -> UserSettings:
    document = _parsed(stored.document)
    return UserSettings(
        stored.user_id, stored.sub, stored.display_name, stored.role, stored.revision, document
    )
