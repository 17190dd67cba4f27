"""Small JSON, YAML and Markdown files in a run's folder of the store."""

import json
from dataclasses import asdict
from typing import Any

from tasks.references import FileRef, PartRef, TableRef, Workspace
from tasks.services.store import Store, open_store


class RunFiles:
    """The files of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.store: Store = open_store(workspace.store)
        self.prefix = workspace.prefix

    def key(self, name: str) -> str:
        """The store's key of the file called `name`."""
        return f"{self.prefix}/{name}"

    def has(self, name: str) -> bool:
        """Whether the file has been written."""
        return self.store.exists(self.key(name))

    def write_json(self, name: str, content: Any) -> FileRef:
        """Write plain values, the same bytes for the same values."""
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return self.store.put_bytes(self.key(name), (text + "\n").encode())

    def read_json(self, name: str) -> Any:
        """Read what `write_json` wrote."""
        return json.loads(self.store.get_bytes(self.key(name)))

    def read_text(self, name: str) -> str:
        """Read what `write_text` wrote."""
        return self.store.get_bytes(self.key(name)).decode()

    def write_text(self, name: str, text: str) -> FileRef:
        """Write text as UTF-8."""
        return self.store.put_bytes(self.key(name), text.encode())


def table_to_json(table: TableRef) -> dict[str, Any]:
    """A table's reference as plain values."""
    return asdict(table)


def table_from_json(plain: dict[str, Any]) -> TableRef:
    """Read what `table_to_json` wrote."""
    parts = tuple(PartRef(**part) for part in plain["parts"])
    return TableRef(uri=plain["uri"], digest=plain["digest"], rows=plain["rows"], parts=parts)
