"""Before anything costs time: is this run's release published already?"""

from typing import NamedTuple

from prefect import task
from prefect.artifacts import create_markdown_artifact

from configs import RunConfig
from tasks.progress import say
from tasks.references import PublishedRelease, RunPlan
from tasks.services.generators import generator_prefix
from tasks.services.package import refer_to
from tasks.services.publishing import load_release
from tasks.services.release_manifest import release_prefix
from tasks.services.store import NotFoundError, open_store
from tasks.services.verification import read_tombstone
from tasks.stage import RETRY_STORE, STAGE


class Standing(NamedTuple):
    """What an earlier run published, and what `tvae run` shows of it."""

    release: PublishedRelease
    generator: str
    figures: dict[str, float]


@task(name="look-for-release", **STAGE, **RETRY_STORE)
def find_published(config: RunConfig, plan: RunPlan) -> Standing | None:
    """The release of exactly this input, configuration and code, or None. Two small reads of the store."""
    store = open_store(config.store)
    try:
        manifest = load_release(store, config.name, plan.release_version)
    except NotFoundError:
        return None
    if manifest.get("lineage", {}).get("content") != plan.content:
        return None  # a version that was chosen by hand, and used for something else
    generator = config.generator_uri or store.uri_of(generator_prefix(config.name, plan.generator_version))
    release = refer_to(store, manifest)
    # A release that somebody retired is not made again behind their back either.
    tombstone = read_tombstone(store, release_prefix(config.name, plan.release_version))
    history = f"published on {manifest['created'][:10]}" + (
        f" and retired on {tombstone['retired'][:10]}" if tombstone else ""
    )
    say("publish", f"nothing new: input, configuration and code are those of {release.uri}, {history}")
    create_markdown_artifact(
        f"**Nothing new.** Input, configuration and code are those of the release `{release.uri}`, {history}. Nothing "
        "was trained; `force` goes through every stage again.",
        key="release",
        description="The release",
    )
    return Standing(release, generator, manifest["figures"])
