"""`livermore down`."""

from __future__ import annotations

import typer

from livermore_dagster.cli.store_session import Home

__all__ = ["down"]


def down(home: Home = None) -> None:
    """Stop the platform that runs in a home. Exchanges that run now run again at the next start.

    Example: livermore down --home ~/.livermore-sim
    """
    from livermore_dagster.platform.config import running_home
    from livermore_dagster.platform.down import bring_down
    from livermore_dagster.platform.home import Home as RunningHome

    bring_down(RunningHome(running_home(home)), lambda line: typer.echo(line, err=True))
