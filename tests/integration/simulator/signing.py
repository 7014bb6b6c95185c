"""Requests signed as a user's client would: Coinbase's tokens, Binance's HMAC."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from livermore_dagster.simulator.accounts import KeyType, demo_credentials
from tests.integration.simulator.played import Played

__all__ = ["Signer", "token"]


def token(key: str, secret: str, uri: str | None = None, **other: Any) -> str:
    """A Coinbase token; `other` replaces claims, `header_…` headers, by name."""
    private: EllipticCurvePrivateKey | Ed25519PrivateKey
    if secret.startswith("-----BEGIN"):
        loaded = load_pem_private_key(secret.encode(), None)
        assert isinstance(loaded, EllipticCurvePrivateKey)
        private, algorithm = loaded, "ES256"
    else:
        private, algorithm = Ed25519PrivateKey.from_private_bytes(base64.b64decode(secret)[:32]), "EdDSA"
    now = int(time.time())
    claims: dict[str, Any] = {"sub": key, "iss": "cdp", "nbf": now, "exp": now + 120, "uri": uri}
    headers: dict[str, Any] = {"kid": key, "nonce": secrets.token_hex()}
    for name, value in other.items():
        if name.startswith("header_"):
            headers[name.removeprefix("header_")] = value
        else:
            claims[name] = value
    headers = {name: value for name, value in headers.items() if value is not None}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, private, algorithm, headers=headers)


class Signer:
    """A client of one account of one simulated exchange."""

    def __init__(
        self, played: Played, exchange: str, account: str = "demo", key_type: KeyType = KeyType.ES256
    ) -> None:
        self.played, self.exchange = played, exchange
        seed = played.simulator.seed
        self.key, self.secret = demo_credentials(seed, exchange, account, key_type)

    @property
    def host(self) -> str:
        return self.played.simulator.rest_url(self.exchange).partition("//")[2]

    def token_for(self, path: str, **other: Any) -> str:
        return token(self.key, self.secret, other.pop("uri", f"GET {self.host}{path}"), **other)

    async def get(self, path: str, **query: Any) -> httpx.Response:
        """A signed read; of Coinbase `path` is what follows /api/v3/brokerage/."""
        if self.exchange == "coinbase":
            path = f"/api/v3/brokerage/{path}"
            return await self.bearing(path, self.token_for(path), **query)
        return await self.asking(path, self.signed(**query))

    async def bearing(self, path: str, bearer: str, **query: Any) -> httpx.Response:
        url = self.played.simulator.rest_url(self.exchange) + path
        return await self.played.http.get(url, params=query, headers={"Authorization": f"Bearer {bearer}"})

    def signed(self, **query: Any) -> str:
        """A Binance query string with time and signature."""
        text = urlencode({**query, "timestamp": query.get("timestamp", int(time.time() * 1000))})
        return f"{text}&signature={self.signature(text)}"

    def signature(self, text: str) -> str:
        return hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()

    async def asking(self, path: str, query: str, key: str | None = None) -> httpx.Response:
        url = f"{self.played.simulator.rest_url(self.exchange)}{path}?{query}"
        return await self.played.http.get(url, headers={"X-MBX-APIKEY": self.key if key is None else key})
