"""A whole table as codes and scalars, and back."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.arrow_types import is_number, is_temporal, is_text
from tvae_core.codecs import (
    CategoricalCodec,
    ColumnCodec,
    IdentifierCodec,
    ModeCodec,
    NumericCodec,
    codec_from_dict,
)
from tvae_core.codecs.categorical import plain_values
from tvae_core.errors import DataError, SchemaError
from tvae_core.layout import Layout
from tvae_core.protection import Ends, Protection
from tvae_core.randomness import numpy_generator, seed_sequence
from tvae_core.schema import ColumnKind, ColumnSchema, TableSchema, refuse_unsupported
from tvae_core.settings import ModelSettings
from tvae_core.sources import TableSource

OnRows = Callable[[int, int], None]

# Codecs are fitted to at most this many rows; every level, minimum and maximum of the others is still seen.
ROWS_FOR_CODECS = 1_000_000


@dataclass(frozen=True)
class EncodedTable:
    """A table as the model sees it: `codes` (rows, columns) int16 or int32, `scalars` (rows, scalars) float32.

    Columns that are not modelled have no place in it. `in_memory` is False where the arrays are mapped from files.
    """

    codes: np.ndarray
    scalars: np.ndarray
    in_memory: bool = True

    def __len__(self) -> int:
        return len(self.codes)

    def digest(self) -> str:
        """sha256 of the codes and scalars."""
        digest = hashlib.sha256(np.ascontiguousarray(self.codes).data)
        digest.update(np.ascontiguousarray(self.scalars).data)
        return digest.hexdigest()


class TableCodec:
    """The fitted codecs of a table's columns, in order, and the layout that follows from them."""

    def __init__(
        self, schema: pa.Schema, codecs: Sequence[ColumnCodec], suppressed: Mapping[str, Any] | None = None
    ) -> None:
        self.schema = schema
        self.suppressed = dict(suppressed or {})
        self.codecs = tuple(codecs)
        self.modelled = tuple(c for c in self.codecs if c.layout.codes)
        self.layout = Layout(tuple(c.layout for c in self.modelled))

    @classmethod
    def fit(
        cls,
        source: TableSource,
        schema: TableSchema,
        settings: ModelSettings,
        *,
        seed: int,
        holders: np.ndarray | None = None,
        closed: Mapping[str, Ends] | None = None,
    ) -> "TableCodec":
        """Learn every column's codec; nothing that fewer than `settings.protect_k` holders share (see `Protection`).

        holders (rows,): the number of the entity behind each row; None: each row stands for itself. closed: by column,
        which of its ends nothing may be drawn beyond.
        Raises SchemaError when the table's columns are not the schema's, DataError when they can't be learned.
        """
        check_columns(source.schema, schema)
        ends = (closed or {}) if settings.tails else None
        protection = Protection.learn(source, schema, settings.protect_k, holders, ends)
        columns = collect(source, seed=seed)
        codecs = []
        for number, column in enumerate(schema.columns):
            state = seed_sequence(seed, "codec", number).generate_state(1, np.uint64)[0]
            codecs.append(fit_codec(column, columns[column.name], settings, protection, seed=int(state)))
        if not any(c.layout.codes for c in codecs):
            names = ", ".join(repr(c.name) for c in schema.columns[:5])
            raise DataError(
                f"the table has identifiers only ({names}), declared or of values that too few share: expected at "
                "least one column to model"
            )
        return cls(source.schema.remove_metadata(), codecs, protection.to_dict())

    def encode(self, source: TableSource, on_rows: OnRows | None = None) -> EncodedTable:
        """Encode a table batch by batch. Raises DataError for values that training has not seen."""
        rows = source.num_rows
        codes = np.empty((rows, len(self.modelled)), self.layout.code_dtype)
        scalars = np.empty((rows, self.layout.scalars), np.float32)
        start = 0
        for part in self.encode_batches(source, on_rows):
            stop = start + len(part)
            codes[start:stop], scalars[start:stop] = part.codes, part.scalars
            start = stop
        return EncodedTable(codes, scalars)

    def encode_batches(self, source: TableSource, on_rows: OnRows | None = None) -> Iterator[EncodedTable]:
        """The table's record batches, encoded; `on_rows` gets the rows done and all rows."""
        done = 0
        for batch in source.batches():
            yield self.encode_batch(batch)
            done += len(batch)
            if on_rows is not None:
                on_rows(done, source.num_rows)

    def encode_batch(self, batch: pa.RecordBatch) -> EncodedTable:
        """Encode one record batch."""
        parts = [codec.encode(batch.column(codec.name)) for codec in self.modelled]
        codes = np.stack([c for c, _ in parts], axis=1).astype(self.layout.code_dtype)
        return EncodedTable(codes, np.concatenate([s for _, s in parts], axis=1))

    def decode(self, encoded: EncodedTable, draws: np.ndarray, first_row: int) -> pa.RecordBatch:
        """Decode rows; `draws` (rows, all columns) are uniform on [0, 1)."""
        arrays = []
        modelled, scalar = 0, 0
        nothing = np.zeros(len(encoded), np.int64)
        for place, codec in enumerate(self.codecs):
            layout = codec.layout
            codes = encoded.codes[:, modelled].astype(np.int64) if layout.codes else nothing
            scalars = encoded.scalars[:, scalar : scalar + layout.scalars]
            arrays.append(codec.decode(codes, scalars, draws[:, place], first_row))
            modelled, scalar = modelled + bool(layout.codes), scalar + layout.scalars
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def align_tails(self, codes: np.ndarray, draws: np.ndarray, common: np.ndarray) -> np.ndarray:
        """Draws (rows, all columns) with the row's `common` one (rows,) wherever a code (rows, columns) has a tail.

        So a row that lies beyond the ends of several columns lies about as far beyond each: values that go together
        do so in the tails too.
        """
        draws, columns = draws.copy(), [codec.name for codec in self.codecs]
        for place, codec in enumerate(self.modelled):
            for tail in getattr(codec, "tails", ()):
                rows = codes[:, place] == tail.code
                draws[rows, columns.index(codec.name)] = common[rows] if tail.above else 1.0 - common[rows]
        return draws

    def barred_tokens(self, *, present: bool) -> dict[int, list[int]]:
        """By modelled column, the tokens that are never drawn: pooled levels, and with `present` missing values.

        A column that has nothing else draws them all the same.
        """
        barred: dict[int, list[int]] = {}
        for place, codec in enumerate(self.modelled):
            missing, pooled = getattr(codec, "missing", False), getattr(codec, "pooled", False)
            own = codec.layout.tokens - missing - pooled
            tokens = ([own] if pooled else []) + ([own + pooled] if missing and present else [])
            if tokens and own:
                barred[place] = tokens
        return barred

    def to_dict(self) -> dict[str, Any]:
        """The codecs as plain JSON values."""
        nullable = {f.name: f.nullable for f in self.schema}
        columns = [c.to_dict() for c in self.codecs]
        return {"nullable": nullable, "columns": columns, "suppressed": self.suppressed}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "TableCodec":
        """Rebuild what `to_dict` wrote."""
        codecs = [codec_from_dict(c) for c in plain["columns"]]
        fields = [pa.field(c.name, codec_type(c), nullable=plain["nullable"][c.name]) for c in codecs]
        return cls(pa.schema(fields), codecs, plain.get("suppressed"))


def codec_type(codec: ColumnCodec) -> pa.DataType:
    """The Arrow type of the column that a codec writes."""
    return codec.domain.type if isinstance(codec, NumericCodec | ModeCodec) else codec.type  # type: ignore[attr-defined]


def check_columns(found: pa.Schema, schema: TableSchema) -> None:
    """Raise SchemaError unless the table has exactly the schema's columns, in order, of the declared types."""
    refuse_unsupported(found)
    missing = [n for n in schema.names if n not in found.names]
    extra = [n for n in found.names if n not in schema.names]
    if missing or extra:
        parts = [
            f"{what} {', '.join(names)}"
            for what, names in (("missing", missing), ("not declared", extra))
            if names
        ]
        raise SchemaError(f"the table's columns are not the schema's: {'; '.join(parts)}")
    if found.names != schema.names:
        raise SchemaError("the table has the schema's columns in another order: reorder one of them")
    wrong = [
        f"{c.name!r} is {found.field(c.name).type}, declared {c.type}"
        for c in schema.columns
        if found.field(c.name).type != c.arrow_type
    ]
    if wrong:
        raise SchemaError(f"column types differ from the schema: {'; '.join(wrong)}")


def fit_codec(
    column: ColumnSchema,
    array: pa.ChunkedArray,
    settings: ModelSettings,
    protection: Protection,
    *,
    seed: int,
) -> ColumnCodec:
    """The codec for one column: what its kind and the preset ask for, of what may be learned."""
    if column.kind is ColumnKind.IDENTIFIER:
        return IdentifierCodec.fit(column.name, array.combine_chunks())
    levels = protection.levels_of(column.name)
    if levels is not None and not len(levels) and is_text(column.arrow_type):
        return IdentifierCodec.fit(column.name, array.combine_chunks())
    if column.kind in (ColumnKind.CATEGORICAL, ColumnKind.BOOLEAN) or levels is not None:
        kept = array if levels is None else only_levels(array, levels)
        codec = CategoricalCodec.fit(column.name, kept, most_levels=settings.max_categories)
        return codec if levels is None else codec.only(codec.levels)
    guard = protection.guard_of(column.name)
    if settings.preset == "reference":
        return ModeCodec.fit(column.name, array, seed=seed, guard=guard)
    return NumericCodec.fit(column.name, array, bins=settings.bins or 64, guard=guard)


def only_levels(array: pa.ChunkedArray, levels: pa.Array) -> pa.ChunkedArray:
    """The rows (rows,) of a column that hold one of `levels`, or nothing."""
    plain = pa.chunked_array([plain_values(chunk) for chunk in array.chunks], levels.type)
    return array.filter(pc.or_(pc.is_in(plain, levels), pc.is_null(plain)))


def collect(source: TableSource, *, seed: int) -> dict[str, pa.ChunkedArray]:
    """Each column's values for fitting: all of a table of up to a million rows, a random million of a larger one.

    Of the rows left out, every level, minimum, maximum and the presence of a missing value are still kept.
    """
    rows = source.num_rows
    if rows == 0:
        raise DataError("the table has no rows: expected at least two")
    generator = numpy_generator(seed, "rows for codecs")
    share = ROWS_FOR_CODECS / rows
    chunks: dict[str, list[pa.Array]] = {name: [] for name in source.schema.names}
    for batch in source.batches():
        kept = np.flatnonzero(generator.random(len(batch)) < share) if share < 1 else None
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            chunks[name].extend([array] if kept is None else [array.take(pa.array(kept)), *witnesses(array)])
    types = {f.name: f.type for f in source.schema}
    return {name: pa.chunked_array(parts, types[name]) for name, parts in chunks.items()}


def witnesses(array: pa.Array) -> Iterator[pa.Array]:
    """The few values of a batch that a codec must see even when their rows are left out."""
    if pa.types.is_duration(array.type):  # Arrow has no min_max for durations
        yield from (part.cast(array.type) for part in witnesses(array.cast(pa.int64())))
        return
    if is_number(array.type) or is_temporal(array.type):
        ends = pc.min_max(array)
        yield pa.array([ends["min"].as_py(), ends["max"].as_py()], array.type).drop_null()
    else:
        yield pc.unique(array)
    if array.null_count:
        yield pa.nulls(1, array.type)
