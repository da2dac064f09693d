"""Keys that tokens and tree heads are signed with, and the one that personal data is sealed under: made at
random for an embedded home, and never weak anywhere else.
"""

import base64
import json
import os
import secrets as random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FILE = "secrets.json"
HEADS_FILE = "tree-head-keys.json"
PERSONAL_FILE = "personal-data-key.json"

MASTER_KEY_BYTES = 32  # AES-256

HS256_BYTES_MIN = 32  # RFC 7518, section 3.2: as long as the hash
_DISTINCT_MIN = 8
# Six letters in a row meet by chance once in 64^6 keys; in a placeholder they are the rule.
_PLACEHOLDERS = (
    "changeme",
    "change-me",
    "change_me",
    "secret",
    "password",
    "placeholder",
    "example",
    "default",
)


def require_strong(secret: str) -> None:
    """Raise ValueError, without the secret in it, for one that is short, repetitive or a placeholder."""
    if len(secret.encode()) < HS256_BYTES_MIN:
        raise ValueError(f"the secret is shorter than {HS256_BYTES_MIN} bytes")
    if len(set(secret)) < _DISTINCT_MIN or any(word in secret.lower() for word in _PLACEHOLDERS):
        raise ValueError("the secret is a placeholder; make a random one, such as: openssl rand -base64 48")


def require_ed25519(public: str, private: str | None) -> None:
    """Raise ValueError unless these are an Ed25519 public key and, where given, its private key, in PEM."""
    try:
        key = serialization.load_pem_public_key(public.encode())
        signer = serialization.load_pem_private_key(private.encode(), None) if private is not None else None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError(
            "an EdDSA key is Ed25519 in PEM: `key` public, `private_key` private, no password"
        ) from None
    if not isinstance(key, Ed25519PublicKey) or not (signer is None or isinstance(signer, Ed25519PrivateKey)):
        raise ValueError("an EdDSA key is Ed25519")
    if signer is not None and signer.public_key() != key:
        raise ValueError("key and private_key do not belong together")


def require_master_key(key: str) -> None:
    """Raise ValueError, without the key in it, for one that is not 32 bytes in base64, or not random."""
    try:
        raw = base64.b64decode(key, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != MASTER_KEY_BYTES:
        raise ValueError(f"the key is not {MASTER_KEY_BYTES} bytes in base64")
    if len(set(raw)) < _DISTINCT_MIN:
        raise ValueError("the key is a placeholder; make a random one, such as: openssl rand -base64 32")


def kept_keys(home: Path) -> list[dict[str, Any]]:
    """The keys for tokens of this embedded home, made at the first call and the same ever after.

    Raises:
        ValueError: the file is not what was written.
        OSError: it cannot be read or written.
    """
    return _kept(home / FILE, lambda: [_new_ed25519(), _new_hs256()], "tokens in use end")


def kept_head_keys(home: Path) -> list[dict[str, Any]]:
    """The keys for tree heads of this embedded home, likewise."""
    return _kept(
        home / HEADS_FILE, lambda: [_new_ed25519()], "heads signed so far cannot be verified any more"
    )


def kept_master_key(home: Path) -> str:
    """The key that personal data of this embedded home is sealed under, likewise, in base64."""
    kept = _kept(
        home / PERSONAL_FILE,
        lambda: [{"key": base64.b64encode(random.token_bytes(MASTER_KEY_BYTES)).decode()}],
        "personal data sealed so far cannot be read any more",
    )
    try:
        key: str = kept[0]["key"]
        require_master_key(key)
    except (IndexError, KeyError, TypeError):
        raise ValueError("not readable as a key; put back the file as it was") from None
    return key


def _kept(file: Path, make: Callable[[], list[dict[str, Any]]], when_removed: str) -> list[dict[str, Any]]:
    if not file.exists():
        _write_once(file, json.dumps({"keys": make()}, indent=2))
    try:
        keys: list[dict[str, Any]] = json.loads(file.read_text())["keys"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise ValueError(f"not readable as keys; remove it to make new ones ({when_removed})") from None
    return keys


def _new_ed25519() -> dict[str, Any]:
    private = Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    return {
        "kid": f"ed25519-{random.token_hex(4)}",
        "alg": "EdDSA",
        "key": private.public_key()
        .public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
        "private_key": private.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    }


def _new_hs256() -> dict[str, Any]:
    key = base64.b64encode(random.token_bytes(48)).decode()
    return {"kid": f"hs256-{random.token_hex(4)}", "alg": "HS256", "key": key}


def _write_once(file: Path, text: str) -> None:
    """Write the file whole, for its owner only; of two writers at once the first wins for both."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")  # made with mode 0600
    try:
        with os.fdopen(handle, "w") as out:
            out.write(text)
        os.link(name, file)
    except FileExistsError:
        pass
    finally:
        Path(name).unlink()
