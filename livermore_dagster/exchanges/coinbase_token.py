"""Tokens of the Coinbase Developer Platform (CDP), one for each request or message.

A token is a JWT (docs.cdp.coinbase.com, coinbase-advanced-py 1.8.4): signed by ES256 or EdDSA, for 120 s, for
one method, host and path; the query string is no part of it.
"""

from __future__ import annotations

import base64
import binascii
import secrets

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from livermore_dagster.errors import BadSetting
from livermore_dagster.exchanges.account_contract import Credentials

__all__ = ["coinbase_token", "signing_key"]

_TOKEN_S = 120
# A token that begins in the exchange's future is refused like a wrong key: it begins a little in our past.
_EARLIER_MS = 1_000


def coinbase_token(credentials: Credentials, now_ms: int, uri: str | None = None) -> str:
    """A new token; `uri` is "GET host/path" for a request, None for a message on a WebSocket.

    Raises BadSetting where the secret is no key.
    """
    algorithm, key = signing_key(credentials)
    now = (now_ms - _EARLIER_MS) // 1000
    claims: dict[str, str | int] = {
        "sub": credentials.key,
        "iss": "cdp",
        "nbf": now,
        "exp": now + _TOKEN_S,
    }
    if uri is not None:
        claims["uri"] = uri
    headers = {"kid": credentials.key, "nonce": secrets.token_hex(16)}
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


def signing_key(credentials: Credentials) -> tuple[str, EllipticCurvePrivateKey | Ed25519PrivateKey]:
    """Its algorithm and key: an EC P-256 key as PEM, or an Ed25519 key as base64 of 32 or 64 bytes."""
    try:
        if "BEGIN" in credentials.secret:
            # A PEM of one line, as shells and .env files carry it, has a backslash and an n for a line's end.
            pem = credentials.secret.replace("\\n", "\n").encode()
            key = load_pem_private_key(pem, password=None)
            if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
                return "ES256", key
            if isinstance(key, Ed25519PrivateKey):
                return "EdDSA", key
        else:
            raw = base64.b64decode(credentials.secret, validate=True)
            if len(raw) in (32, 64):
                return "EdDSA", Ed25519PrivateKey.from_private_bytes(raw[:32])
    except (ValueError, TypeError, binascii.Error):
        pass
    # Outside of the handler, so that no cause with a part of the secret comes along.
    raise BadSetting(
        "The secret is not a Coinbase key: neither an EC P-256 private key as PEM nor a base64 Ed25519 key.",
        "Take privateKey of the key file that Coinbase gave, whole, with BEGIN and END lines if it has them.",
    )
