"""`livermore env`."""

from __future__ import annotations

import typer

from livermore_dagster.cli.store_session import Home

__all__ = ["env"]


def env(home: Home = None) -> None:
    """Print export lines with which a shell reaches the running platform.

    Example: eval "$(livermore env)"
    """
    import shlex

    from livermore_dagster.platform.config import Settings
    from livermore_dagster.platform.dagster_yaml import dagster_environment
    from livermore_dagster.platform.demo_accounts import demo_environment

    settings = Settings.discover(home)
    values = {**settings.environment(), **dagster_environment(settings)}
    for name, value in {**values, **demo_environment(settings.provenance)}.items():
        typer.echo(f"export {name}={shlex.quote(value)}")
