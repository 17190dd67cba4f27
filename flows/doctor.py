"""``tvae doctor``: look at everything a run depends on, and say what to mend."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flows.server import connect
from tasks.services.store import AlreadyExistsError, Store, StoreError, local_path, open_store
from tvae_core.errors import TVAEError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

Level = Literal["ok", "warn", "fail"]
POOLS = ("cpu", "gpu")
DEPLOYMENTS = ("synthesize/cpu", "train-generator/gpu", "score-release/cpu", "publish-release/cpu")
DEPLOY = "`make up`, or `prefect --no-prompt deploy --all --prefect-file deployments/prefect.yaml`"
FREE_BYTES = 5 * 2**30  # a table's part, a generator and Prefect's database want room


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `mend` says what to do unless it is ok."""

    level: Level
    what: str
    found: str
    mend: str = ""


def examine(config: Path | None, store: str | None) -> Iterator[Finding]:
    """Look at one thing after the other. `config` is a run's configuration, whose store is looked at too."""
    addresses = [store] if store else []
    if config is not None:
        finding, address = _configuration(config)
        yield finding
        addresses += [address] if address and not store else []
    for address in addresses:
        yield from _store(address)
    yield from _machine()
    yield from _server()


def _configuration(path: Path) -> tuple[Finding, str | None]:
    from configs import load_config
    from configs.datasets import Dataset
    from tasks.services.tables import reference_table

    try:
        config = load_config(path, kind=Dataset)
        table = reference_table(config.input)
    except TVAEError as error:
        return Finding("fail", "settings", f"{path} can't be used", str(error)), None
    return Finding("ok", "settings", f"{path}: {config.name}, {table.rows:,} rows to read"), config.store


def _store(address: str) -> Iterator[Finding]:
    try:
        store = open_store(address)
        refused = _probe(store)
    except StoreError as error:
        yield Finding("fail", "store", f"{address} can't be used", str(error))
        return
    yield Finding("ok", "store", f"{address}: written, read and removed")
    if refused:
        yield Finding("ok", "store", "a second writer of one name is refused")
    else:
        yield Finding(
            "fail", "store", "two writers of one name both succeed",
            "publish from one place at a time, or use a store that honours If-None-Match: AWS, MinIO and Ceph do",
        )  # fmt: skip
    if "://" not in address or address.startswith("file://"):
        yield _room("store", local_path(address))


def _probe(store: Store) -> bool:
    """Write, read and remove an object of our own; whether a second conditional write was refused."""
    key = f"doctor/{secrets.token_hex(8)}"
    try:
        store.put_bytes(key, b"probe", if_absent=True)
        if store.get_bytes(key) != b"probe":
            raise StoreError("what was written is not what is read: look at the store's own log")
        try:
            store.put_bytes(key, b"other", if_absent=True)
        except AlreadyExistsError:
            return True
        return False
    finally:
        store.delete(key)


def _room(what: str, path: Path) -> Finding:
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / 2**30:.1f} GiB free at {existing}"
    if free >= FREE_BYTES:
        return Finding("ok", what, found)
    return Finding("warn", what, found, f"make room: {FREE_BYTES / 2**30:.0f} GiB are a sensible least")


def _machine() -> Iterator[Finding]:
    yield _room("temporary files", Path(tempfile.gettempdir()))
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield Finding("ok", "torch", f"{torch.__version__}, GPU: {names}")
    elif Path("/dev/nvidiactl").exists():
        yield Finding(
            "warn", "torch", f"{torch.__version__} uses no GPU, though this machine has one",
            "install the build of torch for your driver: https://pytorch.org/get-started",
        )  # fmt: skip
    else:
        yield Finding("ok", "torch", f"{torch.__version__}, no GPU: trains on the CPU")
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    if threads <= cores:
        yield Finding("ok", "threads", f"{threads} on {cores} core(s)")
    else:
        yield Finding(
            "warn", "threads", f"{threads} on {cores} core(s): they wait for each other",
            f"export OMP_NUM_THREADS={cores}, or less where several runs share the machine",
        )  # fmt: skip


def _server() -> Iterator[Finding]:
    try:
        with connect() as client:
            yield _version(client)
            yield from _pools(client)
            yield from _deployments(client)
    except TVAEError as error:
        yield Finding("fail", "server", "no Prefect server", str(error))


def _version(client: "SyncPrefectClient") -> Finding:
    import prefect

    theirs, ours = client.api_version(), prefect.__version__
    if theirs.split(".")[:2] == ours.split(".")[:2]:
        return Finding("ok", "server", f"{client.api_url}: Prefect {theirs}")
    return Finding(
        "warn",
        "server",
        f"{client.api_url}: Prefect {theirs}, and {ours} here",
        "install the same version on both",
    )


def _pools(client: "SyncPrefectClient") -> Iterator[Finding]:
    from prefect.client.schemas.filters import WorkerFilter, WorkerFilterStatus
    from prefect.exceptions import ObjectNotFound

    online = WorkerFilter(status=WorkerFilterStatus(any_=["ONLINE"]))
    for name in POOLS:
        try:
            pool = client.read_work_pool(name)
        except ObjectNotFound:
            yield Finding(
                "fail", f"pool {name}", "missing", f"`prefect work-pool create {name} --type process`"
            )
            continue
        workers = len(client.read_workers_for_work_pool(name, worker_filter=online))
        if pool.is_paused:
            yield Finding("fail", f"pool {name}", "paused", f"`prefect work-pool resume {name}`")
        elif workers:
            yield Finding("ok", f"pool {name}", f"{workers} worker(s) online")
        else:
            yield Finding("fail", f"pool {name}", "no worker", f"`prefect worker start --pool {name}`")
        if name == "gpu" and pool.concurrency_limit is None:
            yield Finding(
                "warn", f"pool {name}", "no limit: two trainings may share a card",
                "`prefect work-pool set-concurrency-limit gpu 1`",
            )  # fmt: skip


def _deployments(client: "SyncPrefectClient") -> Iterator[Finding]:
    from prefect.exceptions import ObjectNotFound

    for name in DEPLOYMENTS:
        try:
            client.read_deployment_by_name(name)
        except ObjectNotFound:
            yield Finding("fail", "deployments", f"{name} is missing", DEPLOY)
        else:
            yield Finding("ok", "deployments", name)
