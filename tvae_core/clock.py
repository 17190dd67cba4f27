"""How long training has taken, and how much of its time budget that is."""

import time


def now() -> float:
    """Seconds of a clock that is never set back."""
    return time.monotonic()


class Clock:
    """Counts from now on; `before` are seconds that count as spent already, by a run that was resumed.

    limit: seconds that may be spent, None without a limit.
    """

    def __init__(self, limit: float | None = None, before: float = 0.0) -> None:
        self.limit, self._began = limit, now() - before

    def elapsed(self) -> float:
        """Seconds spent."""
        return now() - self._began

    def share(self) -> float:
        """Share of the limit that is spent; 0 without a limit, 1 and more when the time is over."""
        return 0.0 if self.limit is None else self.elapsed() / self.limit
