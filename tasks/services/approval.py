"""A person's decision on a release that passed its gate, kept in the store: what was asked, and what was answered.

    approvals/NAME/VERSION/request-0001.json     sealed: the package by address and digest, the verdict, until when
    approvals/NAME/VERSION/decision-0001.json    sealed, put-if-absent: approved, refused or expired; by whom and why

The first decision stands. Nothing is published while a request waits; what is published are the very bytes that were
asked about.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from tasks.references import PackageRef
from tasks.services.package import discard_package, package_folder, read_package
from tasks.services.publishing import list_versions
from tasks.services.release_manifest import Document, validate_name
from tasks.services.sealing import open_seal, seal
from tasks.services.store import AlreadyExistsError, NotFoundError, Store, StoreError, open_store
from tvae_core.errors import TVAEError

Status = Literal["waiting", "approved", "refused", "expired", "settled"]
MACHINE = "tvae-pipeline"


class ApprovalError(TVAEError):
    """A decision that can't be taken: it was taken already, or the time is over."""


@dataclass(frozen=True)
class Approval:
    """Where a release stands.

    Attributes:
        number: of the request, from 1; 0 when none was made.
        request: what was asked: name, version, package, digest, gate, figures, requested, expires.
        decision: what was answered: decision, by, reason, decided; None while it waits.
        settled: nothing is to be asked: no approval is required, or the release is published already.
    """

    number: int = 0
    request: Document = field(default_factory=dict)
    decision: Document | None = None
    settled: bool = False

    @property
    def status(self) -> Status:
        """Where it stands: waiting, approved, refused or expired; settled where nothing is asked."""
        if self.settled:
            return "settled"
        status: Status = self.decision["decision"] if self.decision else "waiting"
        return status

    @property
    def waits(self) -> bool:
        """Whether a person still has to decide."""
        return self.status == "waiting"

    @property
    def package(self) -> PackageRef:
        """What is decided on."""
        return PackageRef(**self.request["package"])

    @property
    def about(self) -> Document:
        """What the release's manifest says of it."""
        if self.decision is None:
            return {}
        return {"approval": {**self.decision, "requested": self.request["requested"]}}


def request_approval(package: PackageRef, hours: float, moment: datetime | None = None) -> Approval:
    """Ask for a decision on `package` within `hours`, or find where the same question stands.

    A package that differs from the one that waits takes its place. After an expiry it is asked anew; a refusal stands
    for the same package.
    """
    store, now = open_store(package.store), moment or datetime.now(UTC)
    if package.version in list_versions(store, "releases", package.name):
        return Approval(settled=True)
    standing = find_approval(store, package.name, package.version, now)
    number = 1
    if standing is not None:
        same = standing.package.sha256 == package.sha256
        if same and standing.status != "expired":
            return standing
        if standing.waits:
            _decide(store, standing, "expired", MACHINE, "another package took its place", now)
        number = standing.number + 1
    listed = read_package(package)["manifest"]
    request = {
        "name": package.name,
        "version": package.version,
        "package": asdict(package),
        "gate": listed["gate"],
        "figures": listed["figures"],
        "requested": now.isoformat(),
        "expires": (now + timedelta(hours=hours)).isoformat(),
    }
    key = f"{_folder(package.name, package.version)}/request-{number:04}.json"
    with suppress(AlreadyExistsError):  # another run of the same release asked at this moment
        store.put_bytes(key, seal(request), if_absent=True)
    return Approval(number, _read(store, key))


def find_approval(store: Store, name: str, version: str, moment: datetime | None = None) -> Approval | None:
    """The last question about a release and its answer; None when nothing was asked. What is overdue has expired then.

    Raises StoreError when a record was altered.
    """
    folder = _folder(name, version)
    requests = list(store.list(f"{folder}/request-"))
    if not requests:
        return None
    number = int(requests[-1].removesuffix(".json").rpartition("-")[2])
    request = _read(store, requests[-1])
    try:
        decision = _read(store, f"{folder}/decision-{number:04}.json")
    except NotFoundError:
        decision = None
    approval = Approval(number, request, decision)
    now = moment or datetime.now(UTC)
    if approval.waits and now >= datetime.fromisoformat(request["expires"]):
        return _decide(store, approval, "expired", MACHINE, "nobody decided in time", now)
    return approval


def decide(
    store: Store,
    name: str,
    version: str,
    *,
    approve: bool,
    by: str,
    reason: str,
    moment: datetime | None = None,
) -> Approval:
    """Record a person's decision; the same decision again is taken as the first one's.

    Raises NotFoundError when nothing was asked, ApprovalError without a name and a reason, after the time, and when
    somebody decided otherwise.
    """
    wanted: Status = "approved" if approve else "refused"
    if not by.strip() or not reason.strip():
        raise ApprovalError("a decision needs a name and a reason")
    now = moment or datetime.now(UTC)
    approval = find_approval(store, name, version, now)
    if approval is None:
        raise NotFoundError(f"{store.uri} holds no request for the release {name} {version}")
    if approval.waits:
        approval = _decide(store, approval, wanted, by, reason, now)
    if approval.status != wanted:
        decision = approval.decision or {}
        raise ApprovalError(
            f"the release {name} {version} can't be {wanted}: it was {approval.status} on "
            f"{decision['decided'][:16]} by {decision['by']} ({decision['reason']}). After an expiry, "
            "run `synthesize` again to ask anew"
        )
    return approval


def list_approvals(store: Store, name: str | None = None) -> list[Approval]:
    """The last question about every release that was ever asked about."""
    keys = store.list(f"{_folder(name)}/")
    places = sorted({(key.split("/")[1], key.split("/")[2]) for key in keys})
    found = [find_approval(store, name, version) for name, version in places]
    return [approval for approval in found if approval is not None]


def awaited_packages(store: Store, name: str | None = None) -> set[str]:
    """The folders of packages that somebody is still asked about."""
    return {package_folder(approval.package) for approval in list_approvals(store, name) if approval.waits}


def _decide(
    store: Store, approval: Approval, decision: Status, by: str, reason: str, now: datetime
) -> Approval:
    """Write a decision unless there is one; return the one that stands. What is not published is removed."""
    record: Mapping[str, Any] = {
        "decision": decision,
        "by": by,
        "reason": reason,
        "decided": now.isoformat(),
        "package_sha256": approval.package.sha256,
    }
    key = (
        f"{_folder(approval.request['name'], approval.request['version'])}/decision-{approval.number:04}.json"
    )
    try:
        store.put_bytes(key, seal(dict(record)), if_absent=True)
    except AlreadyExistsError:
        return Approval(approval.number, approval.request, _read(store, key))
    if decision == "refused":
        discard_package(approval.package)
    return Approval(approval.number, approval.request, dict(record))


def _read(store: Store, key: str) -> Document:
    sealed = open_seal(store.get_bytes(key), key)
    if sealed.problems:
        raise StoreError(f"{store.uri}: {sealed.problems[0]}; restore it from a backup")
    return sealed.document


def _folder(name: str | None = None, version: str | None = None) -> str:
    parts = [validate_name(part) for part in (name, version) if part is not None]
    return "/".join(["approvals", *parts])
