"""From z to rows, in blocks.

Rows are drawn in blocks of a fixed size, each with random numbers of its own, spawned from the seed and the block's
number. So row i of a sample depends on the generator, the seed and i alone: not on how many rows are asked for, in
which batches they are handed out, or which process draws which block.
"""

from collections.abc import Iterator

import pyarrow as pa
import torch

from tvae_core.layout import Layout
from tvae_core.likelihood import Noise
from tvae_core.networks import Networks
from tvae_core.randomness import numpy_generator, torch_generator
from tvae_core.table import EncodedTable, TableCodec

LARGEST_BLOCK, SMALLEST_BLOCK = 8_192, 64
# A block's random numbers and largest softmax hold about this many numbers at most.
BLOCK_NUMBERS = 2**24


def block_rows(layout: Layout) -> int:
    """Rows per block: a power of two that keeps a block small, the same for every sample of a generator."""
    fit = BLOCK_NUMBERS // max(1, layout.data_dim)
    return max(SMALLEST_BLOCK, min(LARGEST_BLOCK, 2 ** max(0, fit.bit_length() - 1)))


def sample_blocks(
    networks: Networks, codec: TableCodec, rows: int, *, seed: int, device: torch.device
) -> Iterator[pa.RecordBatch]:
    """Draw `rows` rows block by block; the last block is drawn whole and cut."""
    size = block_rows(codec.layout)
    for block, first in enumerate(range(0, rows, size)):
        encoded = draw_block(networks, codec.layout, size, torch_generator(seed, "sample", block), device)
        places = numpy_generator(seed, "place in code", block).random((size, len(codec.codecs)))
        yield codec.decode(encoded, places, first).slice(0, min(size, rows - first))


@torch.no_grad()
def draw_block(
    networks: Networks, layout: Layout, size: int, generator: torch.Generator, device: torch.device
) -> EncodedTable:
    """Draw z from the prior and rows from the decoder; `generator` lives on the CPU."""
    uniforms = torch.rand(size, generator=generator).to(device)
    normals = torch.randn(size, networks.prior.means.shape[1], generator=generator).to(device)
    noise = Noise.draw(size, layout, generator, device)
    rows = networks.decoder.draw(networks.prior.draw(uniforms, normals), noise)
    codes = rows.codes.cpu().numpy() - layout.code_offsets
    return EncodedTable(codes.astype(layout.code_dtype), rows.scalars.float().cpu().numpy())


def rebatch(
    batches: Iterator[pa.RecordBatch], batch_size: int, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Hand the same rows out in batches of `batch_size` (the last one may be smaller)."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += len(batch)
        while count >= batch_size:
            table = pa.Table.from_batches(waiting, schema).combine_chunks()
            yield from table.slice(0, batch_size).to_batches()
            waiting, count = table.slice(batch_size).to_batches(), count - batch_size
    if count:
        yield from pa.Table.from_batches(waiting, schema).combine_chunks().to_batches()
