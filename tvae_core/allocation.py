"""What becomes of memory that is freed."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
NEVER = -1
# The default, and the most that glibc raises its thresholds to by itself, which it leaves off once one is set.
DEFAULT_MMAP_MAX, LARGEST_MMAP_THRESHOLD = 65_536, 2**25


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let the C library keep freed memory for what is allocated next, and give all of it back in the end.

    glibc maps blocks of more than 32 MB from the system and unmaps them when they are freed, so that every large tensor
    of every training step comes as fresh pages, which the system clears one by one: with batches of 4,096 x 20 cells
    that takes more than half of the time. Changes nothing where the C library is another one.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        yield
        return
    assert libc is not None
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, DEFAULT_MMAP_MAX)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * LARGEST_MMAP_THRESHOLD)
        libc.malloc_trim(0)
