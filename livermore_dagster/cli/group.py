"""What every command and group of commands of the shell has in common."""

from __future__ import annotations

from typing import Final

import typer

__all__ = ["CONTEXT", "group"]

CONTEXT: Final = {"help_option_names": ["-h", "--help"]}


def group(summary: str, example: str) -> typer.Typer:
    """A command that has commands of its own; alone it shows its help."""
    return typer.Typer(
        help=f"{summary}\n\nExample: {example}",
        no_args_is_help=True,
        add_completion=False,
        context_settings=dict(CONTEXT),
    )
