"""`livermore doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from livermore_dagster.cli.store_session import Home

__all__ = ["doctor"]

STYLE = {"ok": "green", "warn": "yellow", "fail": "bold red"}
MARK = {"ok": "✓", "warn": "!", "fail": "✖"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for scripts.")] = False,
    home: Home = None,
) -> None:
    """Look at servers, versions, schema, clocks, exchanges and disk; say what to do.

    Exit code 1 when something fails; a warning is none.

    Example: livermore doctor
    """
    import json
    from dataclasses import asdict

    from livermore_dagster.platform.config import running_home
    from livermore_dagster.platform.doctor import Level, examine

    findings = examine(running_home(home))
    failed = [finding for finding in findings if finding.level is Level.FAIL]
    if as_json:
        typer.echo(json.dumps({"ok": not failed, "findings": [asdict(one) for one in findings]}, indent=1))
    else:
        from rich.table import Table
        from rich.text import Text

        from livermore_dagster.cli.console import console

        table = Table(box=None, padding=(0, 1), show_header=False)
        for finding in findings:
            style = STYLE[finding.level.value]
            words = Text(finding.text)
            if finding.advice:
                words.append(f"\n{finding.advice}", style=style)
            table.add_row(Text(MARK[finding.level.value], style), Text(finding.name, "bold"), words)
        console().print(table)
    if failed:
        raise typer.Exit(1)
