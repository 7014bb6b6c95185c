"""Who signed a request: Coinbase's JSON web tokens and Binance's HMAC, verified as the exchanges do.

Signing clocks are real time, whatever market time is; a skew fault moves them as it moves the stated time.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any
from urllib.parse import parse_qsl

import jwt
from jwt.types import Options

from livermore_dagster.simulator.accounts.directory import Account, Accounts
from livermore_dagster.simulator.accounts.keys import KeyType, private_key
from livermore_dagster.simulator.faults import FaultBoard
from livermore_dagster.simulator.rest import Reply

__all__ = [
    "NotSigned",
    "binance_caller",
    "binance_refusal",
    "coinbase_caller",
    "hmac_of",
    "judge_time",
    "key_name_of",
    "missing",
    "signing_now_ms",
    "unauthorized",
    "with_api_key",
]

_TOKEN_LIFE_S = 120
_RECV_WINDOW_MS, _LONGEST_WINDOW_MS, _AHEAD_MS = 5000, 60_000, 1000


def signing_now_ms(faults: FaultBoard) -> int:
    """The clock signatures are judged by: real time, off where the exchange's clock is."""
    return time.time_ns() // 1_000_000 + faults.skew_ms("rest")


class NotSigned(Exception):
    """A request whose caller is not known; `reply` is what the exchange answers."""

    def __init__(self, reply: Reply, why: str) -> None:
        super().__init__(why)
        self.reply = reply


def unauthorized(why: str) -> NotSigned:
    """Coinbase tells nobody what was wrong with a token."""
    return NotSigned(Reply(b"Unauthorized\n", 401), why)


def coinbase_caller(accounts: Accounts, token: str, uri: str | None, now_s: float) -> Account:
    """The account whose token this is. `uri`: method, host and path it must be for; None for a socket's.

    Raises NotSigned.
    """
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise unauthorized(f"no token: {error}") from None
    account = accounts.with_key(str(header.get("kid", "")))
    if account is None:
        raise unauthorized("unknown key")
    if not header.get("nonce"):
        raise unauthorized("no nonce")
    claims = _claims(accounts.venue.seed, account, token)
    problem = _problem(account, claims, uri, now_s)
    if problem:
        raise unauthorized(problem)
    return account


def key_name_of(token: str) -> str:
    """The key a token says it was made with; '' where it is no token."""
    try:
        return str(jwt.get_unverified_header(token).get("kid", ""))
    except jwt.PyJWTError:
        return ""


def _claims(seed: int, account: Account, token: str) -> dict[str, Any]:
    algorithm = "ES256" if account.key_type is KeyType.ES256 else "EdDSA"
    public = private_key(seed, account.name, account.key_type).public_key()
    # The times are judged by the exchange's clock, not by this machine's.
    how: Options = {
        "verify_exp": False,
        "verify_nbf": False,
        "verify_iat": False,
        "verify_aud": False,
        "require": ["exp", "nbf", "iss", "sub"],
    }
    try:
        claims: dict[str, Any] = jwt.decode(token, public, [algorithm], how)
    except jwt.PyJWTError as error:
        raise unauthorized(str(error)) from None
    return claims


def _problem(account: Account, claims: dict[str, Any], uri: str | None, now_s: float) -> str:
    if claims["sub"] != account.key or claims["iss"] != "cdp":
        return "sub or iss is another's"
    if not all(isinstance(claims[name], int | float) for name in ("nbf", "exp")):
        return "nbf or exp is no time"
    if claims["exp"] - claims["nbf"] > _TOKEN_LIFE_S:
        return "valid for too long"
    if not claims["nbf"] <= now_s < claims["exp"]:
        return "expired or not valid yet"
    return "" if uri is None or claims.get("uri") == uri else "made for another request"


def binance_refusal(code: int, text: str, status: int = 400) -> NotSigned:
    """A refusal in Binance's form."""
    return NotSigned(Reply({"code": code, "msg": text}, status), text)


def hmac_of(secret: str, text: str) -> str:
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def binance_caller(accounts: Accounts, key: str | None, query: str, now_ms: int) -> Account:
    """The account that signed this exact query string. Raises NotSigned."""
    signed, separator, signature = query.rpartition("signature=")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    for name in ("timestamp", "signature"):
        if not parameters.get(name):
            raise missing(name)
    account = with_api_key(accounts, key)
    judge_time(parameters["timestamp"], parameters.get("recvWindow"), now_ms)
    # The signature stands last: whatever follows it was not signed.
    is_last = separator and signed.endswith("&") and "&" not in signature
    if not is_last or not hmac.compare_digest(hmac_of(account.secret, signed[:-1]), signature.lower()):
        raise binance_refusal(-1022, "Signature for this request is not valid.")
    return account


def with_api_key(accounts: Accounts, key: str | None) -> Account:
    """Raises NotSigned for a key of a wrong form or of nobody."""
    if not key or len(key) != 64 or not key.isalnum():
        raise binance_refusal(-2014, "API-key format invalid.", 401)
    account = accounts.with_key(key)
    if account is None:
        raise binance_refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    return account


def missing(name: str) -> NotSigned:
    text = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    return binance_refusal(-1102, text)


def judge_time(timestamp: str, recv_window: str | None, now_ms: int) -> None:
    """Raises NotSigned for a timestamp more than 1 s ahead, or older than the window allows."""
    if not timestamp.isdecimal() or len(timestamp) > 16:
        raise binance_refusal(
            -1100, "Illegal characters found in parameter 'timestamp'; legal range is '^[0-9]{1,20}$'."
        )
    window = _RECV_WINDOW_MS
    if recv_window is not None:
        if not recv_window.isdecimal():
            raise binance_refusal(-1100, "Illegal characters found in parameter 'recvWindow'.")
        window = int(recv_window)
        if window > _LONGEST_WINDOW_MS:
            raise binance_refusal(-1131, f"recvWindow must be less than {_LONGEST_WINDOW_MS}.")
    if int(timestamp) >= now_ms + _AHEAD_MS:
        raise binance_refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - int(timestamp) > window:
        raise binance_refusal(-1021, "Timestamp for this request is outside of the recvWindow.")
