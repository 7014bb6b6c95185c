"""Keys and secrets of simulated accounts: a function of (seed, exchange, account), so nothing stores them.

Coinbase: a key name `organizations/{uuid}/apiKeys/{uuid}` with an EC P-256 key as PEM (ES256), or an Ed25519
key as base64 of seed and public key (EdDSA). Binance: 64 letters and digits each, for HMAC-SHA256.
"""

from __future__ import annotations

import base64
import hashlib
import string
import uuid
from collections.abc import Iterator
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from livermore_dagster.errors import UnknownExchange
from livermore_dagster.simulator.universe import EXCHANGES

__all__ = ["DEMO_ACCOUNT", "KeyType", "account_letters", "account_uuid", "demo_credentials", "private_key"]

DEMO_ACCOUNT = "demo"
"""The account every simulated exchange has."""
_LETTERS = string.ascii_letters + string.digits
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class KeyType(StrEnum):
    """What a Coinbase key signs with; Binance keys are HMAC."""

    ES256 = "es256"
    ED25519 = "ed25519"


def demo_credentials(
    seed: int, exchange: str, account: str = DEMO_ACCOUNT, key_type: KeyType = KeyType.ES256
) -> tuple[str, str]:
    """(key, secret) of the simulated account, as a user would put them into two environment variables."""
    match exchange:
        case "coinbase":
            organization = account_uuid(seed, exchange, account, "organization")
            key = f"organizations/{organization}/apiKeys/{account_uuid(seed, exchange, account, 'key')}"
            return key, _secret_text(private_key(seed, account, key_type))
        case "binance" | "binance_us":
            key, secret = (account_letters(seed, exchange, account, what) for what in ("key", "secret"))
            return key, secret
        case _:
            raise UnknownExchange(exchange, EXCHANGES)


def private_key(seed: int, account: str, key_type: KeyType) -> EllipticCurvePrivateKey | Ed25519PrivateKey:
    """The Coinbase account's signing key."""
    drawn = _bytes(seed, "coinbase", account, "secret", key_type.value)
    if key_type is KeyType.ED25519:
        return Ed25519PrivateKey.from_private_bytes(drawn)
    return derive_private_key(int.from_bytes(drawn) % (_P256_ORDER - 1) + 1, SECP256R1())


def account_uuid(seed: int, exchange: str, account: str, *parts: str | int) -> str:
    """An id the exchange gave, in the form of a random (version 4) UUID."""
    return str(uuid.UUID(bytes=_bytes(seed, exchange, account, *parts)[:16], version=4))


def _secret_text(key: EllipticCurvePrivateKey | Ed25519PrivateKey) -> str:
    if isinstance(key, Ed25519PrivateKey):
        seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        return base64.b64encode(seed + key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def account_letters(*parts: str | int) -> str:
    """64 letters and digits, as Binance makes keys of every sort."""
    drawn = int.from_bytes(hashlib.blake2b(_text(*parts), digest_size=64).digest())
    return "".join(_digits(drawn, 64))


def _digits(number: int, count: int) -> Iterator[str]:
    for _ in range(count):
        number, digit = divmod(number, len(_LETTERS))
        yield _LETTERS[digit]


def _bytes(*parts: str | int) -> bytes:
    return hashlib.blake2b(_text(*parts), digest_size=32).digest()


def _text(*parts: str | int) -> bytes:
    return "\x1f".join(("account", *map(str, parts))).encode()
