"""Where random numbers come from: one seed, spawned per purpose and per block. No global state is touched."""

import zlib

import numpy as np
import torch


def seed_sequence(seed: int, purpose: str, *index: int) -> np.random.SeedSequence:
    """The seed sequence for one purpose (`"initialise"`, `"sample"`, ...) and one block of it.

    Different purposes and indices give independent streams (numpy's SeedSequence, spawn keys).
    """
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()), *index))


def numpy_generator(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """A numpy generator for one purpose and block."""
    return np.random.Generator(np.random.Philox(seed_sequence(seed, purpose, *index)))


def torch_generator(
    seed: int, purpose: str, *index: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A torch generator for one purpose and block, on `device`."""
    state = seed_sequence(seed, purpose, *index).generate_state(1, np.uint64)[0]
    return torch.Generator(device=device).manual_seed(int(state >> np.uint64(1)))
