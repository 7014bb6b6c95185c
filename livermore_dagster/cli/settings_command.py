"""`livermore settings`: one validated document per user; shown, changed by path, taken out and put in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livermore_dagster.cli.files import read_text, write_file
from livermore_dagster.cli.group import group
from livermore_dagster.cli.store_session import Home, Json, StoreSession, User, in_session
from livermore_dagster.errors import BadSetting

if TYPE_CHECKING:
    from livermore_dagster.accounts.settings import UserSettings
    from livermore_dagster.cli.console import PlainTable
    from livermore_dagster.stores.postgres.user_settings import SettingsChange

__all__ = ["app"]

app = group(
    "A user's settings: one document, validated as a whole, every change written down.",
    "livermore settings set alerts.cooldown_s 900",
)

MadeFrom = Annotated[
    int | None, typer.Option("--revision", min=0, help="Refuse unless the settings are at this revision.")
]
LARGEST_BYTES = 4_000_000


@app.command("get")
def get(
    path: Annotated[str, typer.Argument(help="Such as alerts.levels; all where none is given.")] = "",
    as_json: Json = False,
    user: User = None,
    home: Home = None,
) -> None:
    """Show settings, all or those under one path.

    Example: livermore settings get alerts
    """
    found = in_session(_load, home, user)
    part = _at(found.document.model_dump(mode="json"), path)
    if as_json:
        answer = {"user": found.sub, "revision": found.revision, "path": path, "value": part}
        typer.echo(json.dumps(answer))
        return
    for name, value in _lines(part, path):
        typer.echo(f"{typer.style(name, fg=typer.colors.CYAN)} = {json.dumps(value, ensure_ascii=False)}")
    typer.secho(f"{found.sub}, revision {found.revision}", dim=True, err=True)


@app.command("set")
def set_one(
    path: Annotated[str, typer.Argument(help="Such as alerts.cooldown_s.")],
    value: Annotated[str, typer.Argument(help="JSON; text needs no quotes.")],
    made_from: MadeFrom = None,
    as_json: Json = False,
    user: User = None,
    home: Home = None,
) -> None:
    """Change one path. The whole document is validated; a refused change changes nothing.

    Example: livermore settings set alerts.timeframes '["15m", "1h"]'
    """
    from livermore_dagster.accounts.settings import patch

    async def change(session: StoreSession) -> UserSettings:
        sub, by = session.user, session.settings.user or session.user
        given = _value(value)
        return await patch(session.connection, session.redis, sub, path, given, by=by, made_from=made_from)

    _written(in_session(change, home, user), as_json)


@app.command("replace")
def replace_all(
    file: Annotated[Path, typer.Argument(help="A JSON document; what it does not say gets its default.")],
    made_from: MadeFrom = None,
    as_json: Json = False,
    user: User = None,
    home: Home = None,
) -> None:
    """Make a file's document the settings.

    Example: livermore settings replace settings.json --revision 4
    """
    from livermore_dagster.accounts.settings import replace

    text = _text_of(file)

    async def write(session: StoreSession) -> UserSettings:
        sub, by = session.user, session.settings.user or session.user
        return await replace(session.connection, session.redis, sub, text, by=by, made_from=made_from)

    _written(in_session(write, home, user), as_json)


@app.command("export")
def export(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A file; else standard output.")] = None,
    user: User = None,
    home: Home = None,
) -> None:
    """Write the whole document as JSON. `import` takes it back, identically.

    Example: livermore settings export --out settings.json
    """
    found = in_session(_load, home, user)
    text = found.document.model_dump_json(indent=2)
    if out is None:
        typer.echo(text)
        return
    write_file(out, f"{text}\n".encode())
    typer.echo(f"{out}: settings of {found.sub}, revision {found.revision}.")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="What `export` wrote.")],
    made_from: MadeFrom = None,
    as_json: Json = False,
    user: User = None,
    home: Home = None,
) -> None:
    """Show what a document would change, then make it the settings.

    Example: livermore settings import settings.json
    """
    from livermore_dagster.accounts.settings import differences, parse_document, replace

    text = _text_of(file)

    async def write(session: StoreSession) -> tuple[list[Any], UserSettings]:
        before = await _load(session)
        changes = differences(before.document, parse_document(text))
        by = session.settings.user or session.user
        made = before.revision if made_from is None else made_from
        after = await replace(session.connection, session.redis, session.user, text, by=by, made_from=made)
        return changes, after

    changes, after = in_session(write, home, user)
    if not as_json:
        _show_differences(changes)
    _written(after, as_json)


@app.command("diff")
def diff(
    file: Annotated[Path, typer.Argument(help="A document to compare the settings with.")],
    as_json: Json = False,
    user: User = None,
    home: Home = None,
) -> None:
    """Show what importing a document would change; nothing is changed. Exit code 1 when they differ.

    Example: livermore settings diff settings.json
    """
    from livermore_dagster.accounts.settings import differences, parse_document

    document = parse_document(_text_of(file))
    found = in_session(_load, home, user)
    changes = differences(found.document, document)
    if as_json:
        typer.echo(json.dumps([{"path": path, "now": now, "file": new} for path, now, new in changes]))
    elif changes:
        _show_differences(changes)
    else:
        typer.echo("They are the same.")
    if changes:
        raise typer.Exit(1)


@app.command("history")
def history(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 20,
    as_json: Json = False,
    user: User = None,
    home: Home = None,
) -> None:
    """Show who changed what, the newest first.

    Example: livermore settings history --limit 50
    """
    from livermore_dagster.accounts.users import require_user
    from livermore_dagster.cli.console import console
    from livermore_dagster.stores.postgres.user_settings import read_changes

    async def work(session: StoreSession) -> list[SettingsChange]:
        await require_user(session.connection, session.user, active=False)
        return await read_changes(session.connection, session.user, limit)

    changes = in_session(work, home, user)
    if as_json:
        rows = [{**one._asdict(), "at": one.at.isoformat() if one.at else None} for one in changes]
        typer.echo(json.dumps(rows))
        return
    if not changes:
        typer.echo("Nothing has been changed.")
        return
    console().print(_changes_table(changes))


def _changes_table(changes: Sequence[SettingsChange]) -> PlainTable:
    """What was changed, and what it became, stand first: on a narrow terminal columns go from the right."""
    from livermore_dagster.cli.console import plain_table
    from livermore_dagster.market.moments import utc_text

    table = plain_table("Changes of settings", ["when (UTC)", "path"], [], ["to", "from", "by", "revision"])
    for one in changes:
        when = utc_text(int(one.at.timestamp() * 1000)) if one.at else "–"
        table.add_row(when, one.path, one.after or "–", one.before or "–", one.by, str(one.revision))
    return table


async def _load(session: StoreSession) -> UserSettings:
    from livermore_dagster.accounts.settings import load

    return await load(session.connection, session.user)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _text_of(file: Path) -> str:
    return read_text(file, LARGEST_BYTES, "Settings", "JSON")


def _at(whole: Any, path: str) -> Any:
    part = whole
    for name in filter(None, path.split(".")):
        try:
            part = part[int(name)] if isinstance(part, list) else part[name]
        except (KeyError, IndexError, ValueError, TypeError):
            there = ", ".join(part) if isinstance(part, dict) else "nothing of that name"
            raise BadSetting(
                f"There is no {path!r} in the settings.", f"At {name!r} there is: {there}."
            ) from None
    return part


def _lines(part: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(part, dict) and part:
        lines = []
        for name, inner in part.items():
            lines += _lines(inner, f"{path}.{name}" if path else name)
        return lines
    return [(path, part)]


def _show_differences(changes: list[tuple[str, Any, Any]]) -> None:
    for path, before, after in changes:
        typer.echo(path)
        typer.secho(f"  - {json.dumps(before, ensure_ascii=False)}", fg=typer.colors.RED)
        typer.secho(f"  + {json.dumps(after, ensure_ascii=False)}", fg=typer.colors.GREEN)


def _written(after: UserSettings, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"user": after.sub, "revision": after.revision}))
    else:
        typer.echo(f"Settings of {after.sub} are at revision {after.revision}.")
