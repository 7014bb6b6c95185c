"""What every command and group of commands of the shell has in common."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Final

import typer
import typer.core

__all__ = ["CONTEXT", "CommandGroup", "group"]

CONTEXT: Final = {"help_option_names": ["-h", "--help"]}
LISTED: Final = 12
"""So many commands an error names; of more, those that are spelled alike."""


class CommandGroup(typer.core.TyperGroup):
    """Says which commands there are when it is given one that is not."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        there = self.list_commands(ctx)
        if args and args[0] not in there and not args[0].startswith("-"):
            alike = get_close_matches(args[0], there)
            told = f"There are: {', '.join(there)}." if len(there) <= LISTED else "See: livermore --help"
            if alike:
                told = f"Did you mean {' or '.join(alike)}?"
            ctx.fail(f"No such command {args[0]!r}. {told}")
        return super().resolve_command(ctx, args)


def group(summary: str, example: str) -> typer.Typer:
    """A command that has commands of its own; alone it shows its help."""
    return typer.Typer(
        cls=CommandGroup,
        help=f"{summary}\n\nExample: {example}",
        no_args_is_help=True,
        add_completion=False,
        context_settings=dict(CONTEXT),
    )
