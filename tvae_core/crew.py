"""Parts of a processor's work that know nothing of each other: a thread for each, with cores of its own.

Operations on a few thousand rows are too short to be shared out well: every one waits for its slowest share, which on a
busy machine takes several times as long (decision 17). Parts that are shared out whole wait once.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

# Each thread holds what its part needs: with more of them, memory would grow more than speed.
MOST_THREADS = 8

Part = TypeVar("Part")
Result = TypeVar("Result")


class Crew:
    """Does several parts of a work at once."""

    def __init__(self, pool: ThreadPoolExecutor | None, threads: int) -> None:
        self._pool, self.threads = pool, threads

    def do(self, work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """Each part's result, in their order, once all are done. Raises the error of the first part that has one."""
        if self._pool is None or len(parts) == 1:
            return [work(part) for part in parts]
        cores = torch.get_num_threads()
        try:
            return list(self._pool.map(work, parts))
        finally:
            torch.set_num_threads(cores)  # which a thread that comes sets for others to come as well


@contextmanager
def crew(parts: int, device: torch.device) -> Iterator[Crew]:
    """Threads for work in so many parts, which share torch's cores; one, the caller's own, where that serves best.

    >>> with crew(3, torch.device("cpu")) as threads:
    ...     threads.do(lambda part: part**2, [1, 2, 3])
    [1, 4, 9]
    """
    cores = torch.get_num_threads()
    threads = max(1, min(parts, cores, MOST_THREADS)) if device.type == "cpu" else 1
    if threads == 1:
        yield Crew(None, 1)
        return
    share = cores // threads
    try:
        with ThreadPoolExecutor(
            threads, "crew", initializer=torch.set_num_threads, initargs=(share,)
        ) as pool:
            yield Crew(pool, threads)
    finally:
        torch.set_num_threads(torch.get_num_threads())  # of a thread that came late
