"""Steps of a scoring that must not stop one another."""

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tasks.services.scores import Scores
from tvae_core.errors import TVAEError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """One step of a scoring: its name, the figures that it owes, and ``compute(scores, tables)``."""

    name: str
    figures: Sequence[str]
    compute: Callable[[Scores, Any], None]


class Steps:
    """Runs one step after the other; a step that fails leaves reasons behind and not an exception."""

    def __init__(self, scores: Scores, on_progress: Callable[[str], None] | None) -> None:
        self._scores = scores
        self._on_progress = on_progress

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Announce a step and keep how long it took."""
        if self._on_progress is not None:
            self._on_progress(name)
        start = time.perf_counter()
        yield
        self._scores.timings[name] = round(time.perf_counter() - start, 3)

    def step(self, name: str, figures: Sequence[str], compute: Callable[..., None], *args: Any) -> None:
        """Call ``compute(scores, *args)``; what it does not record gets the reason why."""
        reason = "it was not computed for these tables"
        with self.timed(name):
            try:
                compute(self._scores, *args)
            except TVAEError as error:
                reason = str(error)
            except Exception as error:
                # The message of a foreign error may quote a value: its type and place say enough.
                place = traceback.extract_tb(error.__traceback__)[-1]
                reason = (
                    f"the computation failed with {type(error).__name__} ({place.name}, line {place.lineno})"
                )
                logger.warning("%s: %s in %s", name, reason, place.filename)
        for figure in figures:
            if figure not in self._scores.figures and figure not in self._scores.inapplicable:
                self._scores.reasons.setdefault(figure, reason)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep scikit-learn's trees on one core: a second one saves little, and costs tenfold when it is busy."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="openmp"):
        yield
