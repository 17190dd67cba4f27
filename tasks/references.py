"""What stages hand to each other: small, immutable references. Never a table, never a row.

Every class is a frozen dataclass of plain values, so that an orchestrator can keep it as JSON.
"""

from dataclasses import dataclass

from tvae_core.metrics.rules import Policy


@dataclass(frozen=True)
class FileRef:
    """One immutable file: its address, its sha256 and its size in bytes."""

    uri: str
    sha256: str
    size: int


@dataclass(frozen=True)
class PartRef(FileRef):
    """One Parquet file of a table, with its number of rows."""

    rows: int


@dataclass(frozen=True)
class TableRef:
    """A Parquet table: one or more parts of equal schema, in order.

    `digest` is the sha256 over the parts' sha256 in order: two tables with the same digest hold the same bytes.
    """

    uri: str
    digest: str
    rows: int
    parts: tuple[PartRef, ...]


@dataclass(frozen=True)
class SplitRef:
    """How a table falls into train and holdout: a rule, not a copy. No private row is written anywhere.

    A row belongs to the holdout when the hash of its row number (or of its `entity`'s value) with `seed` falls
    below `holdout_fraction`.
    """

    table: TableRef
    seed: int
    holdout_fraction: float
    entity: str | None
    train_rows: int
    holdout_rows: int


@dataclass(frozen=True)
class GeneratorRef:
    """A stored generator: `uri` is its versioned directory, `digest` covers every file that `sample` depends on."""

    uri: str
    name: str
    version: str
    digest: str


@dataclass(frozen=True)
class ScoresRef:
    """The scores of one synthetic table: the two files that hold them, and the flat figures the gate decides on.

    `figures` maps a dotted name such as ``fidelity.shape`` to a number; a figure that could not be computed is absent
    and stands in `reasons`; one that there is nothing to compute for stands in `inapplicable`.
    """

    json: FileRef
    report: FileRef
    figures: dict[str, float]
    reasons: dict[str, str]
    inapplicable: dict[str, str]


@dataclass(frozen=True)
class ReleaseRef:
    """A published release: its directory, the digest over its files, and where its manifest lies."""

    uri: str
    name: str
    version: str
    digest: str
    manifest_uri: str


@dataclass(frozen=True)
class Workspace:
    """Where one run keeps what it makes: a folder `prefix` of the store at `store`."""

    store: str
    prefix: str


@dataclass(frozen=True)
class RunPlan:
    """The names that a run's inputs decide, before anything is made: the same inputs give the same names.

    `content` stands for everything that decides the release, and is its version unless one is given; `suite` is the
    digest of the user's expectations, None without any; `policy` holds the gate's rules; `known` is the table of known
    cells to draw rows for, None without one.
    """

    workspace: Workspace
    generator_version: str
    release_version: str
    content: str
    suite: str | None
    policy: Policy
    known: TableRef | None = None


@dataclass(frozen=True)
class PackageRef(FileRef):
    """A release that is complete and not published: the list of its files, by address and digest, in the store."""

    name: str
    version: str
    store: str
    rows: int


@dataclass(frozen=True)
class PublishedRelease(ReleaseRef):
    """A release and where its report lies."""

    report_uri: str
