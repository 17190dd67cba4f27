"""JSON documents that show every altered byte, and who wrote them.

A sealed document ends with two keys of its own. ``signature`` is null, or an Ed25519 signature (RFC 8032) over the
bytes of the document without both keys; ``seal`` is the sha256 over the bytes of the document without ``seal``. A
document's bytes are its one form: two spaces of indent, keys in their order, UTF-8. Other white space, a key that
stands twice or a number written otherwise is an alteration too.

The seal shows damage; the signature, checked with a key that was received by another way, shows who wrote it.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvae_core.errors import TVAEError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    PrivateKey = Ed25519PrivateKey
    PublicKey = Ed25519PublicKey

KEY_VARIABLE = "TVAE_SIGNING_KEY"
ALGORITHM = "Ed25519"
Document = dict[str, Any]


class SigningError(TVAEError):
    """A key that can't be used: absent, not PEM, or not Ed25519. The message never holds the key."""


@dataclass(frozen=True)
class Seal:
    """What a sealed document says about itself.

    Attributes:
        document: the document without its seal and its signature; empty when it can't be read.
        problems: what is wrong with it, one sentence each.
        signed_by: the fingerprint of the public key that its signature was made with, None when it is not signed.
        trusted: whether that key is the one that was asked for; None when none was.
    """

    document: Document
    problems: tuple[str, ...]
    signed_by: str | None = None
    trusted: bool | None = None


def form(document: Document) -> bytes:
    """A document's one form. Raises ValueError for what plain JSON can't hold, NaN among it."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode()


def seal(document: Document, key: "PrivateKey | None" = None) -> bytes:
    """The bytes of a sealed document, signed where a key is given."""
    signature = None
    if key is not None:
        signature = {
            "algorithm": ALGORITHM,
            "public_key": public_pem(key.public_key()),
            "value": key.sign(form(document)).hex(),
        }
    signed = {**document, "signature": signature}
    return form({**signed, "seal": hashlib.sha256(form(signed)).hexdigest()})


def open_seal(content: bytes, what: str, expected: "PublicKey | None" = None) -> Seal:
    """Read a sealed document and say what is wrong with it; `what` names it in the problems.

    With an `expected` public key a document that is not signed, or by another key, has a problem.
    """
    try:
        document = json.loads(content)
        stated, signature = document.pop("seal"), document.pop("signature")
        signed = {**document, "signature": signature}
        whole = content == form({**signed, "seal": stated})
        whole = whole and stated == hashlib.sha256(form(signed)).hexdigest()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Seal({}, (f"{what} was altered: it is not a sealed document",))
    problems = [] if whole else [f"{what} was altered: its bytes are not those that were sealed"]
    if signature is None:
        if expected is not None:
            problems.append(f"{what} is not signed: a signature by the given key was expected")
        return Seal(document, tuple(problems), None, None if expected is None else False)
    signer = _signer(signature, form(document))
    if signer is None:
        return Seal(document, (*problems, f"the signature of {what} is not valid for its content"))
    trusted = None if expected is None else public_pem(signer) == public_pem(expected)
    if trusted is False:
        problems.append(f"{what} is signed by another key ({fingerprint(signer)}) than the given one")
    return Seal(document, tuple(problems), fingerprint(signer), trusted)


def signing_key() -> "PrivateKey | None":
    """The private key that TVAE_SIGNING_KEY holds (PEM) or names (a file's path); None when it is not set.

    Raises SigningError when it is set and can't be used.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    value = os.environ.get(KEY_VARIABLE, "").strip()
    if not value:
        return None
    try:
        pem = value.encode() if value.startswith("-----BEGIN") else Path(value).expanduser().read_bytes()
        key = load_pem_private_key(pem, password=None)
    except (OSError, ValueError, TypeError) as error:  # a password raises TypeError
        raise SigningError(
            f"{KEY_VARIABLE} can't be used ({type(error).__name__}): a private Ed25519 key as PEM without a password, "
            "or the path of such a file, was expected"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{KEY_VARIABLE} holds a key of another kind: an Ed25519 key was expected")
    return key


def read_public_key(path: Path) -> "PublicKey":
    """The public key in the PEM file at `path`. Raises SigningError when there is none."""
    try:
        return _public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SigningError(
            f"{path} can't be used ({type(error).__name__}): a public Ed25519 key as PEM was expected"
        ) from None


def public_pem(key: "PublicKey") -> str:
    """A public key as PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def fingerprint(key: "PublicKey") -> str:
    """The first 16 hexadecimal digits of the sha256 over the raw public key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _public_key(pem: bytes) -> "PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not an Ed25519 key")
    return key


def _signer(signature: Any, content: bytes) -> "PublicKey | None":
    """The key that a signature names, when the signature is that key's; None otherwise."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        if signature["algorithm"] != ALGORITHM:
            return None
        key = _public_key(signature["public_key"].encode())
        key.verify(bytes.fromhex(signature["value"]), content)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, KeyError, TypeError, AttributeError):
        return None
    return key
