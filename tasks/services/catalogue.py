"""What a store holds: its releases and generators, each in a line, and two of them side by side."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.services.directories import MANIFEST
from tasks.services.release_manifest import Document, parse_manifest, validate_name
from tasks.services.store import NotFoundError, Store, StoreError
from tasks.services.verification import read_tombstone
from tvae_core.errors import FormatError

Kind = Literal["releases", "generators"]


@dataclass(frozen=True)
class Entry:
    """One release or generator of a store.

    Attributes:
        kind, name, version: where it lies: ``KIND/NAME/VERSION``.
        created: when it was written, ISO 8601 in UTC.
        digest: of its content.
        rows: synthetic rows of a release, None for a generator.
        gate: the release's policy, whether it passed, and the figures that missed a rule; empty for a generator.
        figures: the release's scores by name.
        retired: when, why and by whom it was retired, None when it was not.
        size: bytes of its files.
        manifest: all that its manifest says.
    """

    kind: Kind
    name: str
    version: str
    created: str
    digest: str
    rows: int | None
    gate: Document
    figures: dict[str, float]
    retired: Document | None
    size: int
    manifest: Document = field(repr=False)

    @property
    def prefix(self) -> str:
        """Where it lies in the store."""
        return f"{self.kind}/{self.name}/{self.version}"

    def summary(self) -> dict[str, Any]:
        """The entry as plain values, without its manifest."""
        return {
            "name": self.name,
            "version": self.version,
            "created": self.created,
            "digest": self.digest,
            "rows": self.rows,
            "size": self.size,
            "gate": self.gate,
            "figures": self.figures,
            "retired": self.retired,
        }


def list_entries(store: Store, kind: Kind, name: str | None = None) -> list[Entry]:
    """Everything of a kind that exists whole, by name and then from the oldest; of one `name` where it is given.

    Raises StoreError for a manifest that is damaged.
    """
    prefix = f"{kind}/{validate_name(name)}/" if name else f"{kind}/"
    entries = [read_entry(store, kind, *place) for place in _places(store, prefix)]
    return sorted(entries, key=lambda entry: (entry.name, entry.created, entry.version))


def read_entry(store: Store, kind: Kind, name: str, version: str) -> Entry:
    """One release or generator. Raises NotFoundError when there is none, StoreError when its manifest is damaged."""
    prefix = f"{kind}/{validate_name(name)}/{validate_name(version)}"
    try:
        content = store.get_bytes(f"{prefix}/{MANIFEST}")
    except NotFoundError:
        raise NotFoundError(
            f"{store.uri} holds no {prefix}: `tvae {kind} {store.uri} {name}` says which there are"
        ) from None
    try:
        manifest = json.loads(content)
        if kind == "releases":
            manifest = parse_manifest(content, prefix)
        files = manifest["files"]
        listed = files if isinstance(files, list) else list(files.values())
        created = manifest.get("created") or store.modified(f"{prefix}/{MANIFEST}").isoformat()
        gate = manifest.get("gate", {})
        return Entry(
            kind=kind,
            name=name,
            version=version,
            created=_text(created),
            digest=_text(manifest["digest"]),
            rows=_rows(listed) if kind == "releases" else None,
            gate=gate_summary(gate) if gate else {},
            figures={name: _number(value) for name, value in manifest.get("figures", {}).items()},
            retired=read_tombstone(store, prefix),
            size=sum(entry["size"] for entry in listed),
            manifest=manifest,
        )
    except FormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, StoreError):
        raise StoreError(
            f"{store.uri_of(f'{prefix}/{MANIFEST}')} is damaged: restore it from a backup"
        ) from None


def compare(first: Entry, second: Entry) -> dict[str, Any]:
    """What is the same in two entries and what is not: every figure of both, and every fact of their lineage.

    Returns ``{"figures": {name: [a, b, b - a]}, "facts": {key: [a, b]}, "same": [key, ...]}``.
    """
    names = sorted({*first.figures, *second.figures})
    figures = {name: _pair(first.figures.get(name), second.figures.get(name)) for name in names}
    left, right = dict(_flat(_facts(first))), dict(_flat(_facts(second)))
    facts = {
        key: [left.get(key), right.get(key)]
        for key in sorted({*left, *right})
        if left.get(key) != right.get(key)
    }
    return {"figures": figures, "facts": facts, "same": sorted(set(left) & set(right) - set(facts))}


def _places(store: Store, prefix: str) -> Iterator[tuple[str, str]]:
    """Name and version of everything that has a manifest."""
    for key in store.list(prefix):
        parts = key.split("/")
        if len(parts) == 4 and parts[3] == MANIFEST:
            yield parts[1], parts[2]


def _rows(listed: list[Document]) -> int:
    return sum(entry.get("rows", 0) for entry in listed if entry["path"].startswith("data/"))


def gate_summary(verdict: Document) -> Document:
    """A verdict in short: its policy, whether it passed, and the figures that missed a rule."""
    missed = [_text(result["metric"]) for result in verdict["results"] if not result["passed"]]
    return {"policy": _text(verdict.get("policy", "")), "passed": verdict["passed"], "missed": missed}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("not a number")
    return value


def _facts(entry: Entry) -> Document:
    keys = ("lineage", "terms", "columns", "library_version", "approval")
    facts = {key: entry.manifest[key] for key in keys if key in entry.manifest}
    return {**facts, "digest": entry.digest, "rows": entry.rows, "policy": entry.gate.get("policy")}


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else name)
    else:
        yield key, value


def _pair(a: float | None, b: float | None) -> list[float | None]:
    return [a, b, round(b - a, 6) if a is not None and b is not None else None]
