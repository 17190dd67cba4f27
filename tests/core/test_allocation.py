"""Large tensors of a training step reuse memory, and none of it is kept afterwards."""

import ctypes
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tvae_core.allocation import freed_memory_kept

PAGES = 100_000_000 // resource.getpagesize()
GLIBC = Path("/proc/self/statm").exists() and hasattr(ctypes.CDLL(None), "malloc_trim")


def fresh_pages(numbers=25_000_000):
    """Pages that the system had to clear for one tensor, of 100 MB where nothing is said."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(numbers)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident_pages():
    return int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.skipif(not GLIBC, reason="only glibc unmaps what is freed")
def test_freed_memory_serves_the_next_tensor_and_goes_back_in_the_end():
    # In a process of its own: what earlier tests left on the heap decides where large blocks find a place.
    subprocess.run([sys.executable, "-m", __name__], check=True, timeout=120)


def main() -> None:
    with freed_memory_kept():
        assert min(fresh_pages() for _ in range(4)) < PAGES / 10
        held = resident_pages()
    assert resident_pages() < held - PAGES / 2
    assert fresh_pages() > PAGES / 2  # as before, and smaller ones are reused as ever
    assert min(fresh_pages(1_000_000) for _ in range(4)) < 100


if __name__ == "__main__":
    main()
