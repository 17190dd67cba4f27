"""From z to rows, in blocks.

Rows are drawn in blocks of a fixed size, each with random numbers of its own, spawned from the seed and the block's
number. So row i of a sample depends on the generator, the seed and i alone: not on how many rows are asked for, in
which batches they are handed out, or which process draws which block.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import torch

from tvae_core.causal import CausalDecoder
from tvae_core.drawing import Tables
from tvae_core.given import Given
from tvae_core.layout import Layout
from tvae_core.likelihood import Noise
from tvae_core.networks import Networks
from tvae_core.products import fast_products
from tvae_core.randomness import numpy_generator, torch_generator
from tvae_core.table import EncodedTable, TableCodec

LARGEST_BLOCK, SMALLEST_BLOCK = 8_192, 64
# A block's random numbers and largest softmax hold about this many numbers at most.
BLOCK_NUMBERS = 2**24


def block_rows(layout: Layout) -> int:
    """Rows per block: a power of two that keeps a block small, the same for every sample of a generator."""
    fit = BLOCK_NUMBERS // max(1, layout.data_dim)
    return max(SMALLEST_BLOCK, min(LARGEST_BLOCK, 2 ** max(0, fit.bit_length() - 1)))


@dataclass(frozen=True)
class Request:
    """What to draw: how many rows, from which seed, what is known of them, in how many steps a row is decoded.

    present: draw no missing values. first: the number of the first row; those before it are left to others.
    """

    rows: int
    seed: int
    given: Given | None = None
    decoding_steps: int | None = None
    present: bool = False
    first: int = 0


def sample_blocks(
    networks: Networks, codec: TableCodec, request: Request, device: torch.device
) -> Iterator[pa.RecordBatch]:
    """Draw rows block by block; the first and the last block are drawn whole and cut."""
    size = block_rows(codec.layout)
    end = request.first + request.rows
    decoder, given = networks.decoder, request.given is not None
    with fast_products():
        tables = decoder.tables(given=given) if isinstance(decoder, CausalDecoder) else None
    for block in range(request.first // size, -(-end // size) if request.rows else 0):
        start = block * size
        with fast_products():
            encoded = draw_block(networks, codec, request, block, device, tables)
        places = numpy_generator(request.seed, "place in code", block).random((size, len(codec.codecs)))
        if request.given is not None:
            places = request.given.narrow(encoded.codes, places)
        low, high = max(request.first, start), min(end, start + size)
        batch = codec.decode(encoded, places, start).slice(low - start, high - low)
        yield batch if request.given is None else request.given.finish(batch, low)


@torch.no_grad()
def draw_block(
    networks: Networks,
    codec: TableCodec,
    request: Request,
    block: int,
    device: torch.device,
    tables: Tables | None,
) -> EncodedTable:
    """Draw z from the prior and rows from the decoder, all random numbers from the block's own CPU generator."""
    layout = codec.layout
    size, generator = block_rows(layout), torch_generator(request.seed, "sample", block)
    uniforms = torch.rand(size, generator=generator).to(device)
    normals = torch.randn(size, networks.prior.means.shape[1], generator=generator).to(device)
    z, noise = networks.prior.draw(uniforms, normals), Noise.draw(size, layout, generator, device)
    decoder = networks.decoder
    barred = codec.barred_tokens(present=request.present)
    if not isinstance(decoder, CausalDecoder):
        rows = decoder.draw(z, noise, barred=barred)
    else:
        known, view = (None, None)
        if request.given is not None:
            known, view = request.given.block(decoder, block * size, size, noise.uniforms)
        rows = decoder.draw(z, noise, known, view, steps=request.decoding_steps, barred=barred, tables=tables)
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
