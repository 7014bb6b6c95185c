"""`livermore db`: the database and schema.sql."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from livermore_dagster.cli.group import group
from livermore_dagster.cli.store_session import Home

__all__ = ["app"]

app = group("Apply schema.sql to the database, or check it for drift.", "livermore db check")


@app.command("check")
def check(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for scripts.")] = False,
    home: Home = None,
) -> None:
    """Compare the database with schema.sql. Exit code 1 when they differ.

    Example: livermore db check --json
    """
    import json

    import psycopg

    from livermore_dagster.platform import schema

    with psycopg.connect(_address(home), connect_timeout=10) as connection:
        found = schema.drift(connection)
    if as_json:
        typer.echo(json.dumps({"in_step": not found, "differences": found}))
    elif found:
        typer.echo("\n".join(f"- {line}" for line in found))
        typer.echo("Bring it in step with `livermore db apply`.", err=True)
    else:
        typer.echo("The database is what schema.sql says.")
    if found:
        raise typer.Exit(1)


@app.command("apply")
def apply(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Show the statements, change nothing.")] = False,
    home: Home = None,
) -> None:
    """Bring the database in step with schema.sql.

    An empty database gets schema.sql as it is. One that holds something is changed by Atlas and nothing else.

    Example: livermore db apply --plan
    """
    import sys

    import psycopg

    from livermore_dagster.errors import BadSetting
    from livermore_dagster.platform import schema
    from livermore_dagster.platform.atlas import Atlas

    address = _address(home)
    with psycopg.connect(address, connect_timeout=10) as connection:
        empty = schema.is_empty(connection)
        if empty and not plan_only:
            schema.apply_to_empty(connection)
    if empty:
        typer.echo("The database is empty." if plan_only else "Made from schema.sql.")
        return
    atlas = Atlas(address)
    plan = atlas.plan()
    if not plan:
        typer.echo("The database is what schema.sql says: nothing to do.")
        return
    typer.echo(plan)
    if plan_only:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise BadSetting("Nobody is there to say yes.", "Add --yes to apply these statements.")
        typer.confirm("Apply?", abort=True)
    atlas.apply()
    typer.echo("Applied.")


def _address(home: Path | None) -> Any:
    """The running platform's database, or the one LIVERMORE_DATABASE_URL names."""
    import os

    from livermore_dagster.platform.config import DATABASE_CA, DATABASE_URL, Settings
    from livermore_dagster.stores.postgres.connect import conninfo

    url = os.environ.get(DATABASE_URL)
    if url and home is None:
        ca = os.environ.get(DATABASE_CA)
        return conninfo(url, Path(ca) if ca else None)
    settings = Settings.discover(home)
    return conninfo(settings.database_url, settings.database_ca)
