"""Categories: one code per level, and one more for missing where it was seen."""

from collections.abc import Mapping
from dataclasses import dataclass
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

    `levels` holds each level once, in order, as an Arrow array of the column's value type.
    """

    name: str
    type: pa.DataType
    levels: pa.Array
    missing: bool

    @property
    def layout(self) -> ColumnLayout:
        """One code a level, and one for missing."""
        return ColumnLayout.plain(len(self.levels) + self.missing)

    @classmethod
    def fit(cls, name: str, array: pa.Array, *, most_levels: int) -> "CategoricalCodec":
        """Learn the levels of a column. Raises DataError when it has more than `most_levels`."""
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
        ordered = levels if pa.types.is_null(levels.type) else levels.take(pc.sort_indices(levels))
        return cls(name, array.type, ordered, plain.null_count > 0 or len(ordered) == 0)

    def encode(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Level numbers; missing is the last code. Raises DataError for a level never seen in training."""
        plain = plain_values(array)
        if pa.types.is_null(self.levels.type):
            codes = pa.nulls(len(plain), pa.int64())
        else:
            codes = pc.index_in(plain.cast(self.levels.type), value_set=self.levels).cast(pa.int64())
        unknown = codes.null_count - plain.null_count
        if unknown or (plain.null_count and not self.missing):
            what = f"{unknown} rows with a category" if unknown else f"{plain.null_count} missing values"
            raise DataError(f"column {self.name!r} has {what} never seen in training")
        filled = pc.fill_null(codes, len(self.levels))
        return filled.to_numpy(zero_copy_only=False), np.zeros((len(plain), 0), np.float32)

    def decode(self, codes: np.ndarray, scalars: np.ndarray, draws: np.ndarray, first_row: int) -> pa.Array:
        """Levels of the column's own type; the last code becomes null."""
        if pa.types.is_null(self.levels.type):
            return pa.nulls(len(codes), self.type)
        indices = pa.array(codes, mask=codes >= len(self.levels))
        if pa.types.is_dictionary(self.type):
            encoded = pa.DictionaryArray.from_arrays(indices.cast(self.type.index_type), self.levels)
            return encoded.cast(self.type) if encoded.type != self.type else encoded
        return self.levels.take(indices).cast(self.type)

    def to_dict(self) -> dict[str, Any]:
        """The fitted codec as plain JSON values."""
        levels = self.levels
        if is_temporal(levels.type):
            levels = pc.cast(levels, pa.int32() if levels.type.bit_width == 32 else pa.int64())
        if pa.types.is_decimal(levels.type):
            levels = levels.cast(pa.string())
        return {
            "codec": "categorical", "name": self.name, "type": str(self.type),
            "levels": levels.to_pylist(), "missing": self.missing,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "CategoricalCodec":
        """Rebuild what `to_dict` wrote."""
        arrow = parse_type(plain["type"])
        inner = value_type(arrow)
        if is_temporal(inner):
            levels = pa.array(plain["levels"], pa.int32() if inner.bit_width == 32 else pa.int64()).cast(
                inner
            )
        elif pa.types.is_decimal(inner):
            levels = pa.array(plain["levels"], pa.string()).cast(inner)
        else:
            levels = pa.array(plain["levels"], inner)
        return cls(plain["name"], arrow, levels, bool(plain["missing"]))


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
