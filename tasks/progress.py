"""How a stage says where it is: one log line a step, in Prefect's UI and in the terminal of `tvae run`."""

import time
from collections.abc import Callable
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

from tasks.services.rates import count_rows

ARTIFACT_INTERVAL = 5.0  # seconds; every update is a request to Prefect's server


def say(stage: str, text: str, done: int | None = None, total: int | None = None) -> None:
    """Log one line. `done` of `total` lets a terminal draw a bar."""
    extra = {"tvae_stage": stage, "tvae_done": done, "tvae_total": total}
    get_run_logger().info(text, extra=extra)  # no arguments, so a % in it is only a %


class ProgressArtifact:
    """A progress bar in Prefect's UI, updated no more often than every few seconds."""

    def __init__(self, key: str, description: str) -> None:
        self._key, self._description = key, description
        self._id: UUID | None = None
        self._last = float("-inf")

    def update(self, done: int, total: int) -> None:
        """Show `done` of `total`; the last step is always shown."""
        now = time.monotonic()
        if now - self._last < ARTIFACT_INTERVAL and done < total:
            return
        self._last = now
        percent = 100.0 * done / total
        if self._id is None:
            created = create_progress_artifact(percent, key=self._key, description=self._description)
            # A coroutine only where an event loop runs: stages are synchronous.
            self._id = cast(UUID, created)
        else:
            update_progress_artifact(self._id, progress=percent)


def row_counter(stage: str, artifact: ProgressArtifact | None = None) -> Callable[[int, int], None]:
    """A callback ``(done, total)`` that says how many rows are done and how fast, and moves the bar in the UI."""

    def show(text: str, done: int, total: int) -> None:
        say(stage, text, done, total)
        if artifact is not None:
            artifact.update(done, total)

    return count_rows(show)
