"""How far and how fast, said now and then."""

import time
from collections.abc import Callable

INTERVAL = 2.0  # seconds between two lines


def count_rows(say: Callable[[str, int, int], None]) -> Callable[[int, int], None]:
    """A callback ``(done, total)`` that says rows, rate and time left, at most every two seconds and at the end."""
    start = last = time.monotonic()

    def count(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < INTERVAL and done < total:
            return
        last = now
        rate = done / max(now - start, 1e-9)
        left = f", {(total - done) / rate:,.0f} s left" if done < total else ""
        say(f"{done:,} of {total:,} rows, {rate:,.0f} rows/s{left}", done, total)

    return count


def count_stages(say: Callable[[str], None], patience: float = 10.0) -> Callable[[str, int, int], None]:
    """A callback ``(stage, done, total)`` that says rows, rate and time left every `patience` seconds of a stage.

    A stage that takes less is passed over in silence.
    """
    current, began, first, last = "", 0.0, 0, 0.0

    def count(stage: str, done: int, total: int) -> None:
        nonlocal current, began, first, last
        now = time.monotonic()
        if stage != current:
            current, began, first, last = stage, now, done, now
        if now - last < patience:
            return
        last = now
        rate = (done - first) / (now - began)
        say(f"{stage}: {done:,} of {total:,} rows, {rate:,.0f} rows/s, {(total - done) / rate:,.0f} s left")

    return count
