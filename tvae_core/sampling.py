"""From z to rows. The likelihood's randomness lives here and nowhere else.

Rows are drawn in blocks of a fixed size, each with random numbers of its own, spawned from the seed and the block's
number. So row i of a sample depends on the generator, the seed and i alone: not on how many rows are asked for, in
which batches they are handed out, or which process draws which block.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from tvae_core.model import Decoder
from tvae_core.randomness import numpy_generator, torch_generator
from tvae_core.table import EncodedTable, Layout, TableCodec

LARGEST_BLOCK, SMALLEST_BLOCK = 8_192, 64
# A block's flat output holds about this many numbers at most (64 MB in float32).
BLOCK_NUMBERS = 2**24


def block_rows(layout: Layout) -> int:
    """Rows per block: a power of two that keeps a block's output small, the same for every sample of a generator."""
    fit = BLOCK_NUMBERS // max(1, layout.data_dim)
    return max(SMALLEST_BLOCK, min(LARGEST_BLOCK, 2 ** max(0, fit.bit_length() - 1)))


@torch.no_grad()
def draw_rows(flat: Tensor, sigma: Tensor, layout: Layout, generator: torch.Generator) -> EncodedTable:
    """Draw every token from its softmax and every scalar from its Gaussian.

    flat (rows, data_dim), sigma (data_dim,); `generator` lives on the CPU, so that every device draws from the same
    numbers.
    """
    rows = len(flat)
    tokens = np.empty((rows, len(layout.cardinalities)), layout.token_dtype)
    draws = torch.rand(rows, len(layout.cardinalities), generator=generator).to(flat.device)
    for place, (start, width) in enumerate(zip(layout.offsets.tolist(), layout.cardinalities, strict=True)):
        tokens[:, place] = draw_token(flat[:, start : start + width], draws[:, place]).cpu().numpy()
    scalars = layout.scalars
    noise = torch.randn(rows, scalars, generator=generator).to(flat.device)
    values = torch.tanh(flat[:, :scalars]) + noise * sigma[:scalars]
    return EncodedTable(tokens, values.float().cpu().numpy())


def draw_token(logits: Tensor, draws: Tensor) -> Tensor:
    """Invert the cumulative softmax of logits (rows, levels) at draws (rows,) in [0, 1) -> levels (rows,)."""
    cumulative = torch.softmax(logits.float(), dim=1).cumsum_(dim=1)
    # The last sum may fall short of 1 by rounding: scaling the draw keeps it inside.
    inside = (draws * cumulative[:, -1]).unsqueeze(1)
    levels = torch.searchsorted(cumulative, inside, right=True).squeeze(1)
    return levels.clamp_(max=logits.shape[1] - 1)


def sample_blocks(
    decoder: Decoder, codec: TableCodec, embedding_dim: int, rows: int, *, seed: int, device: torch.device
) -> Iterator[pa.RecordBatch]:
    """Draw `rows` rows block by block; the last block is drawn whole and cut."""
    size = block_rows(codec.layout)
    for block, first in enumerate(range(0, rows, size)):
        generator = torch_generator(seed, "sample", block)
        z = torch.randn(size, embedding_dim, generator=generator).to(device)
        with torch.no_grad():
            flat, sigma = decoder(z)
        encoded = draw_rows(flat, sigma, codec.layout, generator)
        places = numpy_generator(seed, "place in token", block).random((size, len(codec.codecs)))
        yield codec.decode(encoded, places, first).slice(0, min(size, rows - first))


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
