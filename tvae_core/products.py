"""How products are computed."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch


@contextmanager
def fast_products(device: torch.device, *, exact: bool = False) -> Iterator[None]:
    """Compute float32 products in torch's `medium` precision, and put the caller's setting back.

    On x86 this takes oneDNN in place of MKL, which leaves half of the speed of AMD's processors unused: two to four
    times as fast for the products here, in full float32 unless the processor multiplies bfloat16 matrices (AMX). A GPU
    uses its tensor cores (TF32). Where either would round, `exact` asks for full float32 after all: covariances are
    differences of large numbers, and one digit decides which row is drawn.
    """
    try:
        before = torch.get_float32_matmul_precision()
    except (
        RuntimeError
    ):  # the caller chose by torch's newer settings, which these can't be mixed with: theirs hold
        yield
        return
    rounds = device.type != "cpu" or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    torch.set_float32_matmul_precision("highest" if exact and rounds else "medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def product_dtype(device: torch.device) -> torch.dtype:
    """The type in which small networks' products are fastest without harm.

    bfloat16 (sums in float32) on processors that multiply it in one instruction (AVX512-BF16), float32 elsewhere.
    """
    # torch tells what the processor can only under names of its own.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if device.type == "cpu" and supported() else torch.float32


def rounded_products(device: torch.device) -> AbstractContextManager[object]:
    """Compute the block's products in bfloat16 (sums in float32) on a GPU whose tensor cores are made for it.

    A processor's products stay in float32, and so do those of GPUs before Ampere, which only emulate bfloat16.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return nullcontext()
    # What is cast is not kept: inside a recorded step it would be that of the recording.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
