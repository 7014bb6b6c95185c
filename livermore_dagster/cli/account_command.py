"""`livermore account`: exchange accounts, by the names of the variables that hold their keys."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from livermore_dagster.cli.group import group
from livermore_dagster.cli.store_session import Home, Json, StoreSession, User, in_session
from livermore_dagster.errors import BadSetting

if TYPE_CHECKING:
    from livermore_dagster.stores.postgres.user_exchanges import AccountRow

__all__ = ["app"]

app = group(
    "Exchange accounts: add, list, test, remove. Keys stay in environment variables: only their names are "
    "stored.",
    "livermore account add coinbase --key-env CB_KEY --secret-env CB_SECRET",
)

Exchange = Annotated[str, typer.Argument(help="Name of the exchange, such as coinbase.")]


@app.command("add")
def add(
    exchange: Exchange,
    key_env: Annotated[str | None, typer.Option(metavar="NAME", help="Variable that holds the key.")] = None,
    secret_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Variable that holds the secret.")
    ] = None,
    markets: Annotated[
        str, typer.Option(help="Where the exchange wants them named (Binance): BTCUSDT,ETHUSDT.")
    ] = "",
    user: User = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Register an account once the exchange has accepted its key. A key that may only read is enough.

    A variable that is not named here is the one the user's settings name: exchanges.EXCHANGE.key_env and
    secret_env.

    The variables must also be set where `livermore up` was started: it reads the account from then on.

    Example: livermore account add coinbase --key-env COINBASE_KEY --secret-env COINBASE_SECRET
    """
    from livermore_dagster.cli.lookup import find_exchange
    from livermore_dagster.clock import SystemClock
    from livermore_dagster.stores.postgres.user_exchanges import read_accounts
    from livermore_dagster.trades.registration import add_account, variables_of

    async def work(session: StoreSession) -> tuple[AccountRow, list[AccountRow]]:
        row = await find_exchange(session.connection, exchange)
        listed = [word.strip() for word in markets.split(",") if word.strip()]
        before = await read_accounts(session.connection, exchange_id=row.id, sub=session.user)
        names = await variables_of(session.connection, row, session.user, key_env, secret_env)
        added = await add_account(
            session.connection, session.redis, row, session.user, *names, listed, SystemClock()
        )
        return added, before

    account, before = in_session(work, home, user)
    words = f"{account.key} is registered for {account.sub}. Its trades are read from now on."
    if any(one.key_env for one in before):
        words = (
            f"{account.key} was registered already; its key is read from {account.key_env} from now on.\n"
            f"Should that be the key of another account: livermore account remove {exchange}, then add it."
        )
    _told(account, words, as_json)


@app.command("list")
def list_accounts(as_json: Json = False, home: Home = None) -> None:
    """Show every account, and whether its own channel at the exchange is open.

    Example: livermore account list
    """
    from livermore_dagster.cli.console import console, plain_table
    from livermore_dagster.stores.postgres.orders import count_trades
    from livermore_dagster.stores.postgres.user_exchanges import read_accounts

    async def work(session: StoreSession) -> list[dict[str, Any]]:
        accounts = await read_accounts(session.connection)
        rows = []
        for account in accounts:
            orders, fills = await count_trades(session.connection, account.id)
            rows.append(
                {**_facts(account), "orders": orders, "fills": fills, **await _channel(session, account)}
            )
        return rows

    rows = in_session(work, home)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = plain_table(
        "Accounts", ["account", "user", "key in", "secret in"], ["orders", "fills"], ["channel"]
    )
    for row in rows:
        table.add_row(
            row["account"], row["user"], row["key_env"] or "–", row["secret_env"] or "–",
            f"{row['orders']:,}", f"{row['fills']:,}", _channel_words(row),
        )  # fmt: skip
    console().print(table)


@app.command("test")
def try_key(exchange: Exchange, user: User = None, as_json: Json = False, home: Home = None) -> None:
    """Ask the exchange whether it accepts the account's key now.

    Example: livermore account test coinbase
    """
    from livermore_dagster.cli.lookup import find_exchange
    from livermore_dagster.clock import SystemClock
    from livermore_dagster.platform.demo_accounts import shell_environment
    from livermore_dagster.trades.registration import try_account
    from livermore_dagster.trades.session import credentials_of, require_account

    async def work(session: StoreSession) -> AccountRow:
        row = await find_exchange(session.connection, exchange)
        account = await require_account(session.connection, exchange, sub=session.user)
        credentials = credentials_of(account, shell_environment(session.settings.provenance))
        await try_account(session.redis, row, credentials, account.markets, SystemClock())
        return account

    account = in_session(work, home, user)
    _told(account, f"{exchange} accepts the key of {account.key}.", as_json)


@app.command("remove")
def remove(
    exchange: Exchange,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    user: User = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Forget an account with every order and fill read of it. The exchange has them still.

    Example: livermore account remove coinbase --yes
    """
    from livermore_dagster.clock import SystemClock
    from livermore_dagster.trades.registration import remove_account
    from livermore_dagster.trades.session import require_account

    if not yes and (as_json or not sys.stdin.isatty()):
        raise BadSetting("Nobody is asked before an account is forgotten.", "Add --yes to forget it.")

    async def work(session: StoreSession) -> AccountRow:
        account = await require_account(session.connection, exchange, sub=session.user)
        if not yes:
            typer.confirm(f"Forget {account.key} and all trades read of it?", abort=True, err=True)
        await remove_account(session.connection, session.redis, account, SystemClock())
        return account

    account = in_session(work, home, user)
    _told(account, f"{account.key} is forgotten.", as_json)


async def _channel(session: StoreSession, account: AccountRow) -> dict[str, Any]:
    from livermore_dagster.stores.redis import keys

    text = await cast("Any", session.redis.hget(keys.account_channels(account.exchange_id), account.key))
    known = json.loads(text) if text else {"state": "closed", "reason": ""}
    return {"channel": known["state"], "reason": known["reason"]}


def _channel_words(row: dict[str, Any]) -> str:
    return f"{row['channel']}: {row['reason']}" if row["reason"] else str(row["channel"])


def _told(account: AccountRow, words: str, as_json: bool) -> None:
    typer.echo(json.dumps(_facts(account)) if as_json else words)


def _facts(account: AccountRow) -> dict[str, Any]:
    return {
        "account": account.key,
        "exchange": account.exchange,
        "user": account.sub,
        "key_env": account.key_env,
        "secret_env": account.secret_env,
        "markets": list(account.markets),
        "default": account.is_default,
    }
