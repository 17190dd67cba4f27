"""From z to rows, in blocks.

Rows are drawn in blocks of a fixed size, each with random numbers of its own, spawned from the seed and the block's
number. So row i of a sample depends on the generator, the seed and i alone: not on how many rows are asked for, in
which batches they are handed out, or which process draws which block.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa
import torch
from torch import Tensor

from tvae_core.causal import CausalDecoder
from tvae_core.crew import crew
from tvae_core.drawing import Tables
from tvae_core.given import Given, GivenConditions, GivenFrame
from tvae_core.layout import Layout
from tvae_core.likelihood import Noise, power_of_two
from tvae_core.model import Rows
from tvae_core.networks import Networks
from tvae_core.pooling import Pool, affordable_proposals, proposals_needed
from tvae_core.products import fast_products
from tvae_core.randomness import numpy_generator, torch_generator
from tvae_core.resampling import rows_of_a_pool
from tvae_core.table import EncodedTable, TableCodec

LARGEST_BLOCK, SMALLEST_BLOCK = 8_192, 64
# A block has about this many cells at most, and so many places for the codes of its widest column: to draw some rows is
# to draw a whole block.
BLOCK_CELLS, BLOCK_NUMBERS = 2**19, 2**24
# Proposals for each row of a frame of given cells, each of them whole.
PROPOSALS_FOR_FRAMES = 8
# The pool that shows whether pools serve: it is the same for a condition, whatever the sample's seed.
ROWS_OF_FIRST_POOL, FIRST_SEED = 256, 0


def block_rows(layout: Layout) -> int:
    """Rows per block: a power of two that keeps a block small, the same for every sample of a generator."""
    bearable = min(
        BLOCK_CELLS // max(1, len(layout.columns)), BLOCK_NUMBERS // max(1, max(layout.codes, default=1))
    )
    return max(SMALLEST_BLOCK, power_of_two(bearable, LARGEST_BLOCK))


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
    networks: Networks, codec: TableCodec, request: Request, device: torch.device, way: "Way"
) -> Iterator[pa.RecordBatch]:
    """Draw rows block by block, a few at once on a processor; the first and the last block are drawn whole and cut."""
    size = block_rows(codec.layout)
    end = request.first + request.rows
    blocks = range(request.first // size, -(-end // size) if request.rows else 0)
    draw = partial(draw_block, networks, codec, request, device, way)
    with crew(len(blocks), device) as threads:
        for first in blocks[:: threads.threads]:
            together = range(first, min(first + threads.threads, blocks.stop))
            with fast_products(device, exact=True):
                drawn = threads.do(draw, together)
            for block, encoded in zip(together, drawn, strict=True):
                yield finished_block(codec, request, block, encoded)


def finished_block(codec: TableCodec, request: Request, block: int, encoded: EncodedTable) -> pa.RecordBatch:
    """The wanted rows of a block that was drawn, as values."""
    size = block_rows(codec.layout)
    start, end = block * size, request.first + request.rows
    places = numpy_generator(request.seed, "place in code", block).random((size, len(codec.codecs)))
    common = numpy_generator(request.seed, "place in tails", block).random(size)
    places = codec.align_tails(encoded.codes, places[: len(encoded)], common[: len(encoded)])
    if request.given is not None:
        places = request.given.narrow(encoded.codes, places)
    low, high = max(request.first, start), min(end, start + size)
    batch = codec.decode(encoded, places, start).slice(low - start, high - low)
    return batch if request.given is None else request.given.finish(batch, low)


@dataclass(frozen=True)
class Way:
    """How a request's rows are drawn.

    tables: what drawing many rows makes of the weights once (None for a decoder that makes nothing of them). pool: the
    conditions that choose rows from a pool of proposals, or None. proposals: for each row.
    """

    tables: Tables | None = None
    pool: GivenConditions | None = None
    proposals: int = 1


def way_of(networks: Networks, codec: TableCodec, request: Request, device: torch.device) -> Way:
    """Rows with conditions come from a pool where a first one shows that it serves; else from what is given.

    It depends on the generator and on what is given alone.
    """
    with torch.no_grad(), fast_products(device, exact=True):
        return _way_of(networks, codec, request, device)


def _way_of(networks: Networks, codec: TableCodec, request: Request, device: torch.device) -> Way:
    decoder, given = networks.decoder, request.given
    if not isinstance(decoder, CausalDecoder):
        return Way()
    if isinstance(given, GivenConditions) and request.decoding_steps is None:
        tables = decoder.tables(given=False)
        way = Way(tables, given, affordable_proposals(given.reached))
        generator = torch_generator(FIRST_SEED, "first pool")
        z, noise = draw_noise(networks, codec.layout, ROWS_OF_FIRST_POOL, way, generator, device)
        limits = given.limits(decoder, noise.uniforms)
        barred = codec.barred_tokens(present=request.present)
        proposed = z.view(way.proposals, -1, z.shape[1])
        pool = Pool.draw(decoder, tables, proposed, noise.uniforms, limits, barred)
        needed = proposals_needed(pool.weight, limits.groups)
        if needed is not None:
            return replace(way, proposals=needed)
    return Way(decoder.tables(given=given is not None))


@torch.no_grad()
def draw_block(
    networks: Networks, codec: TableCodec, request: Request, device: torch.device, way: Way, block: int
) -> EncodedTable:
    """Draw z from the prior and rows from the decoder, all random numbers from the block's own CPU generator."""
    layout, decoder = codec.layout, networks.decoder
    size, generator = block_rows(layout), torch_generator(request.seed, "sample", block)
    z, noise = draw_noise(networks, layout, size, way, generator, device)
    barred = codec.barred_tokens(present=request.present)
    if not isinstance(decoder, CausalDecoder):
        rows = decoder.draw(z, noise, barred=barred)
    elif way.pool is not None:
        rows = draw_pooled(decoder, way, z, noise, barred)
    else:
        known, view = (None, None)
        if request.given is not None:
            known, view = request.given.block(decoder, block * size, size, noise.uniforms)
            z, noise = z[: len(known)], Noise(*(part[: len(known)] for part in noise))
        steps = request.decoding_steps
        # Rows that are each their own question are drawn once: they may cost more.
        proposals = PROPOSALS_FOR_FRAMES if isinstance(request.given, GivenFrame) else None
        rows = decoder.draw(
            z, noise, known, view, steps=steps, barred=barred, tables=way.tables, proposals=proposals
        )
    codes = rows.codes.cpu().numpy() - layout.code_offsets
    return EncodedTable(codes.astype(layout.code_dtype), rows.scalars.float().cpu().numpy())


def draw_noise(
    networks: Networks, layout: Layout, size: int, way: Way, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Noise]:
    """z (proposals * size, D) from the prior, and the cells' random numbers."""
    draws = size * way.proposals
    uniforms = torch.rand(draws, generator=generator).to(device)
    normals = torch.randn(draws, networks.prior.means.shape[1], generator=generator).to(device)
    return networks.prior.draw(uniforms, normals), Noise.draw(size, layout, generator, device)


def draw_pooled(
    decoder: CausalDecoder, way: Way, z: Tensor, noise: Noise, barred: Mapping[int, Sequence[int]]
) -> Rows:
    """Rows chosen from pools, each of a limited size."""
    assert way.pool is not None and way.tables is not None
    limits = way.pool.limits(decoder, noise.uniforms)
    proposed = z.view(way.proposals, -1, z.shape[1])
    codes = []
    together = rows_of_a_pool(max(decoder.layout.tokens))
    for part in torch.arange(proposed.shape[1], device=z.device).split(together):
        uniforms = noise.uniforms[part]
        pool = Pool.draw(decoder, way.tables, proposed[:, part], uniforms, limits.rows(part), barred)
        codes.append(pool.choose(uniforms))
    return Rows(torch.cat(codes), noise.normals)


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
