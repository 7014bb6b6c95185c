"""`livermore down`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["down"]


def down(
    home: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Which platform, where several run.")
    ] = None,
) -> None:
    """Stop the platform that runs in a home. Exchanges that run now run again at the next start.

    Example: livermore down --home ~/.livermore-sim
    """
    from livermore_dagster.platform.config import running_home
    from livermore_dagster.platform.down import bring_down
    from livermore_dagster.platform.home import Home

    bring_down(Home(running_home(home)), lambda line: typer.echo(line, err=True))
