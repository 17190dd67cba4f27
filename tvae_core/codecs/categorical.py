"""Categories: one code per level, and one more for missing where it was seen."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.arrow_types import is_temporal, parse_type, value_type
from tvae_core.errors import DataError
from tvae_core.layout import ColumnLayout


@dataclass(frozen=True)
class CategoricalCodec:
    """A column whose values are levels: text, booleans, or anything else declared categorical.

    `levels` holds each level that rows have once, in order, as an Arrow array of the column's value type. `dictionary`
    is the whole dictionary of an ordered column in its own order, with the levels that no row has; None for others.
    """

    name: str
    type: pa.DataType
    levels: pa.Array
    missing: bool
    dictionary: pa.Array | None = None
    pooled: bool = False

    @property
    def layout(self) -> ColumnLayout:
        """One code a level, one for pooled levels, and one for missing."""
        return ColumnLayout.plain(len(self.levels) + self.pooled + self.missing)

    def only(self, levels: pa.Array) -> "CategoricalCodec":
        """These levels of the codec's, in its order, and one code that stands for all others: learned, never drawn."""
        dictionary = (
            None if self.dictionary is None else self.dictionary.filter(pc.is_in(self.dictionary, levels))
        )
        return replace(self, levels=levels, pooled=True, dictionary=dictionary)

    @classmethod
    def fit(cls, name: str, array: pa.Array | pa.ChunkedArray, *, most_levels: int) -> "CategoricalCodec":
        """Learn the levels of a column.

        Raises DataError when it has more than `most_levels`, and when parts of an ordered column contradict each other.
        """
        plain = plain_values(array)
        levels = pc.unique(plain.drop_null())
        if len(levels) > most_levels:
            raise DataError(
                f"column {name!r} has {len(levels):,} categories, more than max_categories = {most_levels:,}: "
                "declare it an identifier, group its values, leave it out, or raise max_categories"
            )
        if pa.types.is_floating(levels.type) and pc.any(pc.is_inf(levels)).as_py():
            raise DataError(
                f"column {name!r} holds infinite values: expected finite levels; replace them before training"
            )
        dictionary = None
        if is_ordered(array.type):
            dictionary = common_dictionary(name, getattr(array, "chunks", [array]))
            levels = dictionary.filter(pc.is_in(dictionary, levels))
        elif not pa.types.is_null(levels.type):
            levels = levels.take(pc.sort_indices(levels))
        return cls(name, array.type, levels, plain.null_count > 0 or len(levels) == 0, dictionary)

    def encode(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Level numbers; missing is the last code. Raises DataError for a level never seen in training.

        With a pool every level without a code of its own is of the pool.
        """
        plain = plain_values(array)
        if pa.types.is_null(self.levels.type):
            codes = pa.nulls(len(plain), pa.int64())
        else:
            codes = pc.index_in(plain.cast(self.levels.type), value_set=self.levels).cast(pa.int64())
        if self.pooled:
            codes = pc.if_else(pc.and_(pc.is_null(codes), pc.is_valid(plain)), len(self.levels), codes)
        unknown = codes.null_count - plain.null_count
        if unknown or (plain.null_count and not self.missing):
            what = f"{unknown} rows with a category" if unknown else f"{plain.null_count} missing values"
            raise DataError(f"column {self.name!r} has {what} never seen in training")
        filled = pc.fill_null(codes, len(self.levels) + self.pooled)
        return filled.to_numpy(zero_copy_only=False), np.zeros((len(plain), 0), np.float32)

    def decode(self, codes: np.ndarray, scalars: np.ndarray, draws: np.ndarray, first_row: int) -> pa.Array:
        """Levels of the column's own type; missing, and the pool where nothing else can be drawn, become null."""
        if pa.types.is_null(self.levels.type):
            return pa.nulls(len(codes), self.type)
        indices = pa.array(codes, mask=codes >= len(self.levels))
        if not pa.types.is_dictionary(self.type):
            return self.levels.take(indices).cast(self.type)
        dictionary = self.levels
        if self.dictionary is not None:
            dictionary = self.dictionary
            indices = pc.index_in(self.levels, value_set=dictionary).take(indices)
        return pa.DictionaryArray.from_arrays(
            indices.cast(self.type.index_type), dictionary, ordered=self.type.ordered
        )

    def to_dict(self) -> dict[str, Any]:
        """The fitted codec as plain JSON values."""
        plain = {
            "codec": "categorical", "name": self.name, "type": str(self.type),
            "levels": spelled(self.levels), "missing": self.missing, "pooled": self.pooled,
        }  # fmt: skip
        return plain if self.dictionary is None else {**plain, "dictionary": spelled(self.dictionary)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "CategoricalCodec":
        """Rebuild what `to_dict` wrote."""
        arrow = parse_type(plain["type"])
        levels = read_levels(plain["levels"], value_type(arrow))
        dictionary = read_levels(plain["dictionary"], levels.type) if "dictionary" in plain else None
        return cls(
            plain["name"], arrow, levels, bool(plain["missing"]), dictionary, bool(plain.get("pooled", False))
        )


def spelled(levels: pa.Array) -> list[Any]:
    """Levels as plain JSON values."""
    if is_temporal(levels.type):
        levels = pc.cast(levels, pa.int32() if levels.type.bit_width == 32 else pa.int64())
    if pa.types.is_decimal(levels.type):
        levels = levels.cast(pa.string())
    out: list[Any] = levels.to_pylist()
    return out


def read_levels(plain: list[Any], inner: pa.DataType) -> pa.Array:
    """The levels that `spelled` wrote, of the type `inner`."""
    if is_temporal(inner):
        return pa.array(plain, pa.int32() if inner.bit_width == 32 else pa.int64()).cast(inner)
    if pa.types.is_decimal(inner):
        return pa.array(plain, pa.string()).cast(inner)
    return pa.array(plain, inner)


def is_ordered(arrow: pa.DataType) -> bool:
    """Whether a column's levels have an order of their own."""
    return pa.types.is_dictionary(arrow) and bool(arrow.ordered)


def common_dictionary(name: str, arrays: Iterable[pa.Array]) -> pa.Array:
    """The dictionaries of an ordered column's parts as one that keeps the order of each.

    Raises DataError when there is none.
    """
    distinct: list[pa.Array] = []
    for array in arrays:
        if not any(array.dictionary.equals(seen) for seen in distinct):
            distinct.append(array.dictionary)
    if len(distinct) == 1:
        return distinct[0]
    order: TopologicalSorter[Any] = TopologicalSorter()
    for levels in (dictionary.to_pylist() for dictionary in distinct):
        for place, level in enumerate(levels):
            order.add(level, *levels[max(0, place - 1) : place])
    try:
        return pa.array(list(order.static_order()), distinct[0].type)
    except CycleError:
        raise DataError(
            f"column {name!r} is ordered, but parts of the table order its levels differently: "
            "write them with one dictionary"
        ) from None


def like_dictionary(values: pa.Array, like: pa.DictionaryArray) -> pa.DictionaryArray:
    """Plain values encoded by another array's dictionary, to which values that it lacks are appended."""
    dictionary = like.dictionary
    plain = values.cast(dictionary.type)
    lacking = pc.unique(plain.filter(pc.and_(pc.is_valid(plain), pc.invert(pc.is_in(plain, dictionary)))))
    if len(lacking):
        dictionary = pa.concat_arrays([dictionary, lacking])
    indices = pc.index_in(plain, value_set=dictionary).cast(like.type.index_type)
    return pa.DictionaryArray.from_arrays(indices, dictionary, ordered=like.type.ordered)


def plain_values(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one chunk without dictionary encoding, NaN counted as missing."""
    chunk = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if pa.types.is_dictionary(chunk.type):
        chunk = (
            chunk.dictionary_decode()
            if hasattr(chunk, "dictionary_decode")
            else chunk.cast(chunk.type.value_type)
        )
    if pa.types.is_floating(chunk.type):
        chunk = pc.if_else(pc.is_nan(chunk), pa.scalar(None, chunk.type), chunk)
    return chunk
