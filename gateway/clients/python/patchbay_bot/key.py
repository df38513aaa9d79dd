"""The bot's Ed25519 key and the tokens that it signs (BotAuth)."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: How long a token is good for, in seconds; the gateway takes at most 300.
TOKEN_S = 240


def b64(raw: bytes) -> str:
    """Base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The bytes of base64url without padding. Raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


class BotKey:
    """A bot's private key. Never printed: ``repr`` shows its thumbprint."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        public = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        #: The public key as a JWK, for ``POST /v1/bots``.
        self.jwk: dict[str, str] = {"crv": "Ed25519", "kty": "OKP", "x": b64(public)}
        #: RFC 7638: SHA-256 of the required members in order. It is the ``kid`` of every token.
        self.thumbprint: str = b64(hashlib.sha256(_compact(self.jwk)).digest())

    @classmethod
    def generate(cls) -> BotKey:
        """A new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, text: str | bytes) -> BotKey:
        """A key from PKCS #8 in PEM (``openssl genpkey -algorithm ed25519``) or from a private JWK. Raises ValueError."""
        raw = text.encode() if isinstance(text, str) else text
        if raw.lstrip().startswith(b"{"):
            jwk = json.loads(raw)
            if jwk.get("crv") != "Ed25519" or "d" not in jwk:
                raise ValueError("the JWK is not a private Ed25519 key")
            return cls(Ed25519PrivateKey.from_private_bytes(unb64(jwk["d"])))
        private = serialization.load_pem_private_key(raw, password=None)
        if not isinstance(private, Ed25519PrivateKey):
            raise ValueError("the key is not an Ed25519 key")
        return cls(private)

    @classmethod
    def read(cls, path: str | Path) -> BotKey:
        """As ``load``, from a file. Raises OSError and ValueError."""
        return cls.load(Path(path).read_bytes())

    def pem(self) -> bytes:
        """The private key as PKCS #8 in PEM, to be kept."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    def token(self, bot_id: str, audience: str, now_s: int) -> str:
        """A token that says "I am this bot" to the gateway at ``audience`` from ``now_s`` (Unix time) for 240 s."""
        head = {"alg": "EdDSA", "kid": self.thumbprint, "typ": "bot+jwt"}
        name = f"bot:{bot_id}"
        claims = {"aud": audience, "exp": now_s + TOKEN_S, "iat": now_s, "iss": name, "jti": secrets.token_hex(16), "sub": name}
        signed = f"{b64(_compact(head))}.{b64(_compact(claims))}"
        return f"{signed}.{b64(self._private.sign(signed.encode()))}"

    def __repr__(self) -> str:
        return f"BotKey({self.thumbprint})"
