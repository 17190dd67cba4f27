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
