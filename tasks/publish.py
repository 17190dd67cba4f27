"""Stage 8c: publish the release, all or nothing."""

from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.measuring import measured, reuse, stage_costs
from tasks.progress import say
from tasks.references import PackageRef, PublishedRelease
from tasks.services import publishing
from tasks.services.package import publish_package, refer_to
from tasks.services.sealing import KEY_VARIABLE
from tasks.services.store import open_store
from tasks.stage import RETRY_STORE, STAGE


@task(name="publish", **STAGE, **RETRY_STORE)
@measured("publish")
def publish_release(package: PackageRef, about: dict[str, Any] | None = None) -> PublishedRelease:
    """Copy what the package lists to the release's version and write its manifest; reuse it if it is there."""
    release = publish_package(package, {"stages": stage_costs(), **(about or {})})
    store = open_store(package.store)
    manifest = publishing.load_release(store, package.name, package.version)
    if release.already_published:
        reuse("publish", f"this release exists already and is left as it is: {release.uri}")
    else:
        signed = "signed" if manifest["signature"] else f"not signed: {KEY_VARIABLE} is not set"
        say("publish", f"{package.rows:,} rows published, {signed}: {release.uri}")
    folder = f"{release.uri}/{manifest['directory']}"
    card = store.get_bytes(f"{folder.removeprefix(f'{store.uri}/')}/data_card.md").decode()
    published = refer_to(store, manifest)
    create_markdown_artifact(
        f"Published: `{release.uri}`\n\nReport: `{published.report_uri}`\n\n{card}",
        key="release",
        description="The release",
    )
    return published
