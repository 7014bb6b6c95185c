"""`livermore notify`: channels added, tried and watched."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livermore_dagster.cli.files import write_file
from livermore_dagster.cli.group import group
from livermore_dagster.cli.store_session import Home, Json, StoreSession, User, in_session
from livermore_dagster.errors import BadSetting, PlatformError

if TYPE_CHECKING:
    from livermore_dagster.accounts.settings import UserSettings
    from livermore_dagster.accounts.settings_document import ChannelSettings
    from livermore_dagster.notify.trial import Chart

__all__ = ["app"]

app = group(
    "Notifications: channels added, tried and watched.",
    "livermore notify add main --discord --url-env DISCORD_WEBHOOK && livermore notify test",
)
DAY_MS = 86_400_000


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What the channel shall be called.")],
    url_env: Annotated[
        str,
        typer.Option("--url-env", metavar="VARIABLE", help="Environment variable that holds its address."),
    ],
    discord: Annotated[bool, typer.Option("--discord", help="A Discord webhook.")] = False,
    apprise: Annotated[bool, typer.Option("--apprise", help="Any service apprise knows.")] = False,
    chart: Annotated[bool, typer.Option(help="Send the chart.")] = True,
    as_json: Json = False,
    user: User = None,
    home: Home = None,
) -> None:
    """Add a channel. Its address stays in the environment; only the variable's name is stored.

    Example: livermore notify add main --discord --url-env DISCORD_WEBHOOK
    """
    from livermore_dagster.exchanges.credentials import require_variable_name

    if discord is apprise:
        raise BadSetting("Which kind of channel is it?", "Give --discord or --apprise, one of them.")
    require_variable_name(url_env)
    kind = "discord" if discord else "apprise"
    channel = {"name": name, "kind": kind, "url_env": url_env, "enabled": True, "chart": chart}

    async def work(session: StoreSession) -> UserSettings:
        found = await _loaded(session)
        channels = [one.model_dump(mode="json") for one in found.document.alerts.channels]
        if any(one["name"] == name for one in channels):
            raise BadSetting(
                f"There is a channel {name!r} already.", f"Take it out first: livermore notify remove {name}"
            )
        return await _changed(session, found, [*channels, channel])

    found = in_session(work, home, user)
    if as_json:
        typer.echo(json.dumps({"user": found.sub, "revision": found.revision, "channel": channel}))
        return
    typer.echo(f"{name} added for {found.sub}. Try it: livermore notify test --channel {name}")
    if not os.environ.get(url_env):
        typer.echo(
            f"{url_env} is not set in this shell; set it here and where `livermore up` runs.", err=True
        )


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="The channel.")],
    as_json: Json = False,
    user: User = None,
    home: Home = None,
) -> None:
    """Take a channel out; what waits for it is not sent any more.

    Example: livermore notify remove main
    """

    async def work(session: StoreSession) -> UserSettings:
        found = await _loaded(session)
        channels = found.document.alerts.channels
        kept = [one.model_dump(mode="json") for one in channels if one.name != name]
        if len(kept) == len(channels):
            raise _unknown(name, [one.name for one in channels])
        return await _changed(session, found, kept)

    found = in_session(work, home, user)
    if as_json:
        typer.echo(json.dumps({"user": found.sub, "revision": found.revision, "removed": name}))
    else:
        typer.echo(f"{name} removed.")


@app.command("test")
def try_out(
    channel: Annotated[str | None, typer.Option("--channel", "-c", help="This one only.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Put the sample chart there too.")
    ] = None,
    as_json: Json = False,
    user: User = None,
    home: Home = None,
) -> None:
    """Send a sample alert with its chart to your channels, and say how each one answered.

    The sample is the newest stored alert, or a made-up one where there is none. A channel that is off is
    tried only when it is named. Exit code 1 where a channel did not take it, 2 where there is none of that
    name.

    Example: livermore notify test --channel main --out chart.png
    """
    answer, chart = in_session(lambda session: _tried(session, channel, out), home, user)
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        _show_test(answer)
    if out is not None:
        _write(out, chart)
        if not as_json:
            typer.echo(f"Chart: {out}")
    if any(one["outcome"] != "sent" for one in answer["channels"]):
        raise typer.Exit(1)


@app.command("status")
def status(as_json: Json = False, home: Home = None) -> None:
    """Show every channel: how it fares, what waits, what was sent and refused in a day, the last error.

    Example: livermore notify status
    """
    from livermore_dagster.cli.notify_table import show_status
    from livermore_dagster.platform.notifications import read_notifications

    answer = in_session(lambda session: read_notifications(session.connection, session.redis), home)
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        show_status(answer)


async def _loaded(session: StoreSession) -> UserSettings:
    from livermore_dagster.accounts.settings import load

    found = await load(session.connection, session.user)
    # Ended here: a change is told when it is committed, and is so only in a transaction of its own.
    await session.connection.commit()
    return found


async def _changed(
    session: StoreSession, found: UserSettings, channels: list[dict[str, Any]]
) -> UserSettings:
    from livermore_dagster.accounts.settings import patch

    by = session.settings.user or found.sub
    return await patch(
        session.connection,
        session.redis,
        found.sub,
        "alerts.channels",
        channels,
        by=by,
        made_from=found.revision,
    )


def _unknown(name: str, known: list[str]) -> BadSetting:
    advice = f"Channels: {', '.join(known)}." if known else "There is none yet: livermore notify add --help"
    return BadSetting(f"There is no channel {name!r}.", advice)


def _wanted(found: UserSettings, name: str | None, out: Path | None) -> list[ChannelSettings]:
    """The named channel, or those that are switched on: none will do where a chart is to be written."""
    channels = found.document.alerts.channels
    names = [one.name for one in channels]
    if name is not None:
        if name not in names:
            raise _unknown(name, names)
        return [one for one in channels if one.name == name]
    switched_on = [one for one in channels if one.enabled]
    if channels and not switched_on and out is None:
        raise BadSetting(
            f"Every channel of yours is switched off: {', '.join(names)}.",
            f"Name one to try it all the same: livermore notify test --channel {names[0]}",
        )
    return switched_on


async def _tried(session: StoreSession, name: str | None, out: Path | None) -> tuple[dict[str, Any], Chart]:
    from livermore_dagster.notify.sample import sample_alert
    from livermore_dagster.notify.trial import paint_sample, try_channels
    from livermore_dagster.platform.notifications import unseen_variables
    from livermore_dagster.platform.watch import MarketTime
    from livermore_dagster.stores.postgres.connect import open_pool

    found = await _loaded(session)
    channels = _wanted(found, name, out)
    if not channels and out is None:
        raise BadSetting("You have no channel yet.", "Add one: livermore notify add --help")
    settings = session.settings
    market = MarketTime.of(settings)
    heard, bars = await sample_alert(session.connection, market.now_ms())
    pool = await open_pool(settings.database_url, settings.database_ca, name="livermore-cli")
    try:
        chart = await paint_sample(heard, bars, session.redis, pool, simulated=settings.simulated)
    finally:
        await pool.close()
    tried = await try_channels(channels, heard, chart, simulated=settings.simulated)
    answer = {
        "user": found.sub,
        "sample": f"{heard.alert.symbol} {heard.alert.timeframe.value} of {heard.exchange_title}",
        "made_up": bool(bars),
        "chart_ms": round(chart.took_ms, 1),
        "chart_note": chart.note,
        "channels": [asdict(one) for one in tried],
        "unseen_by_notifier": await unseen_variables(session.redis, found.sub),
    }
    return answer, chart


def _write(out: Path, chart: Chart) -> None:
    if chart.png is None:
        raise PlatformError(f"There is no chart to write: {chart.note}.", "See the notifier's log.")
    write_file(out, chart.png)


def _show_test(answer: dict[str, Any]) -> None:
    sample = f"{answer['sample']}{' (made up: no alert is stored yet)' if answer['made_up'] else ''}"
    typer.echo(f"Sample: {sample}. Chart painted in {answer['chart_ms']:.0f} ms.")
    for one in answer["channels"]:
        colour = typer.colors.GREEN if one["outcome"] == "sent" else typer.colors.RED
        head = typer.style(f"{one['channel']}: {one['outcome']}", fg=colour, bold=True)
        typer.echo(f"{head} after {one['took_ms']:.0f} ms; {one['detail']}")
    for variable in answer["unseen_by_notifier"]:
        typer.secho(
            f"The notifier does not see {variable}: start `livermore up` from a shell in which it is set.",
            fg=typer.colors.YELLOW,
            err=True,
        )
