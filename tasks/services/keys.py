"""Names derived from what decides a content, and seeds derived from the one seed."""

import dataclasses
import hashlib
import json
from typing import Any


def fingerprint(*parts: Any) -> str:
    """16 hexadecimal digits of the sha256 over the parts as canonical JSON: equal parts, equal name."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def derive_seed(seed: int, purpose: str) -> int:
    """A seed (0 to 2**32 - 1) of its own for each purpose, so that no two stages draw the same numbers."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:4], "big")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"a name can't be derived from a {type(value).__name__}")
