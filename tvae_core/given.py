"""What is known of rows before they are drawn: conditions that all rows meet, or the cells of a frame, row by row.

Known cells are seen by every other column, so the rest is drawn from the model's own conditional; conditions that all
rows meet may also choose among proposals of free rows (pooling.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from tvae_core.causal import CausalDecoder
from tvae_core.codecs.asked import typed_cells
from tvae_core.codecs.categorical import like_dictionary, plain_values
from tvae_core.conditions import ColumnCondition
from tvae_core.drawing import reach
from tvae_core.errors import ConditionError, DataError
from tvae_core.layout import ColumnLayout
from tvae_core.likelihood import View, draw_same_share
from tvae_core.model import Rows
from tvae_core.pooling import Limits
from tvae_core.resampling import choose
from tvae_core.sources import table_from_frame
from tvae_core.table import TableCodec


class Given(Protocol):
    """What sampling asks of it, block by block."""

    def block(self, decoder: CausalDecoder, first: int, size: int, uniforms: Tensor) -> tuple[Rows, View]:
        """Rows `first` to `first + size`, fewer at the end of a frame: the known cells' codes, and which they are.

        uniforms (rows, columns, 2).
        """
        ...

    def narrow(self, codes: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Draws (rows, all columns) moved to where the allowed values of their codes (rows, columns) lie."""
        ...

    def finish(self, batch: pa.RecordBatch, first: int) -> pa.RecordBatch:
        """The decoded rows with the known cells exactly as they were given."""
        ...


def view_of(known: Tensor) -> View:
    """Known cells (rows, columns); z is hidden where there are any, as in training."""
    seen = torch.ones(known.shape, device=known.device)
    return View(known, ~known.any(1, keepdim=True), seen)


class GivenConditions:
    """The same conditions for every row: `limits` for rows chosen from a pool, `block` for rows drawn given cells.

    Given cells: a column that may take several codes is drawn first, from its share of the training rows or, once
    other cells are known, from the model's conditional, restricted to what is allowed. With several such columns the
    joint drawn is weighted by what each later restriction leaves of it, and resampled (sampling importance resampling:
    Rubin 1987).
    """

    def __init__(
        self,
        codec: TableCodec,
        conditions: Sequence[ColumnCondition],
        barred: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        places = [c.name for c in codec.modelled]
        self.columns = [places.index(c.column) for c in conditions]
        self.conditions = [
            _without(condition, codec.layout.columns[column], (barred or {}).get(column, ()))
            for condition, column in zip(conditions, self.columns, strict=True)
        ]
        self.all_columns = len(places)
        self.outputs = [codec.schema.names.index(c.column) for c in self.conditions]

    @property
    def reached(self) -> float:
        """The share of a row's work after which the last condition is reached."""
        return reach(1 + max(self.columns), self.all_columns)

    def limits(self, decoder: CausalDecoder, uniforms: Tensor) -> Limits:
        """What the conditions leave of rows with these numbers (rows, columns, 2)."""
        size, device = len(uniforms), uniforms.device
        codes = decoder.code_offsets.expand(size, -1).clone()
        known = torch.zeros(codes.shape, dtype=torch.bool, device=device)
        groups = torch.zeros(size, dtype=torch.int64, device=device)
        several: dict[int, Tensor] = {}
        for column, condition in zip(self.columns, self.conditions, strict=True):
            allowed = np.flatnonzero(condition.shares)
            if condition.target is not None:
                target = torch.from_numpy(condition.target).to(device)
                level = draw_same_share(target, uniforms[:, column, 0])
                codes[:, column] += level
                groups = _joined(groups, level)
            elif len(allowed) == 1:
                codes[:, column] += int(allowed[0])
            else:
                several[column] = torch.from_numpy(condition.shares).float().to(device)
            known[:, column] = column not in several
        return Limits(codes, known, several, groups)

    def block(self, decoder: CausalDecoder, first: int, size: int, uniforms: Tensor) -> tuple[Rows, View]:
        """See `Given`."""
        limits = self.limits(decoder, uniforms)
        codes, known = limits.codes, limits.known
        weight = torch.ones(size, device=codes.device)
        # The fewest codes first, which leave the least to weigh.
        for column in sorted(limits.shares, key=lambda column: int((limits.shares[column] > 0).sum())):
            draws, shares = uniforms[:, column], limits.shares[column]
            codes[:, column], mass = decoder.draw_restricted(column, codes, known, shares, draws)
            weight, known[:, column] = weight * mass, True
        chosen = choose(weight.log().unsqueeze(0), limits.groups)
        return Rows(codes[chosen], torch.zeros(size, 0, device=codes.device)), view_of(known)

    def narrow(self, codes: np.ndarray, places: np.ndarray) -> np.ndarray:
        """See `Given`."""
        places = places.copy()
        for condition, column, output in zip(self.conditions, self.columns, self.outputs, strict=True):
            places[:, output] = condition.narrow(codes[:, column], places[:, output])
        return places

    def finish(self, batch: pa.RecordBatch, first: int) -> pa.RecordBatch:
        """See `Given`."""
        arrays = list(batch.columns)
        for condition, output in zip(self.conditions, self.outputs, strict=True):
            if condition.value is not None:
                arrays[output] = _like(pa.repeat(condition.value, len(batch)), arrays[output])
        return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def _without(condition: ColumnCondition, layout: ColumnLayout, tokens: Sequence[int]) -> ColumnCondition:
    """The condition without tokens that are not drawn, unless it asks for nothing else."""
    left = condition.shares * ~np.isin(layout.token_of_code, list(tokens))
    return replace(condition, shares=left) if left.any() else condition


def _joined(groups: Tensor, level: Tensor) -> Tensor:
    """Groups (n,) divided further by another number (n,), numbered from 0 on."""
    return torch.stack([groups, level], dim=1).unique(dim=0, return_inverse=True)[1]


class GivenFrame:
    """Row by row, the cells of a table that are not missing; missing cells, and absent columns, are drawn.

    `asked` is what `known_cells` gave, before constraints put it into the model's terms. In a column of lists (encoded
    by a dictionary) a row's list holds the values that are left: of several, one is drawn before all other columns.
    """

    def __init__(self, codec: TableCodec, table: pa.Table, asked: pa.Table | None = None) -> None:
        self.table = table
        self.asked = table if asked is None else asked
        self.rows = table.num_rows
        names = [c.name for c in codec.modelled]
        self.codes = np.zeros((self.rows, len(names)), np.int64)
        self.known = np.zeros((self.rows, len(names)), bool)
        self.left: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # allowed (lists, codes), list (rows,)
        for place, column in enumerate(codec.modelled):
            if column.name in table.column_names:
                self._read(place, column, codec.schema.field(column.name).type)
        self.table = self.table.drop_columns([names[place] for place in self.left])

    def _read(self, place: int, column: Any, arrow: pa.DataType) -> None:
        if pa.types.is_dictionary(self.table[column.name].type):
            self._read_lists(place, column)
            return
        values = typed_cells(column.name, self.table[column.name], arrow)
        present = pc.is_valid(values).to_numpy(zero_copy_only=False)
        try:
            self.codes[present, place] = column.encode(values.drop_null())[0]
        except DataError as error:
            raise ConditionError(f"{error}: such a cell can't be given") from None
        self.known[:, place] = present

    def _read_lists(self, place: int, column: Any) -> None:
        lists = self.table[column.name].combine_chunks()
        allowed = np.zeros((len(lists.dictionary), column.layout.codes), bool)
        for row, values in zip(allowed, lists.dictionary, strict=True):
            row[column.encode(values.values)[0] if values.is_valid else slice(None)] = True
        which = lists.indices.to_numpy()
        self.known[:, place] = (allowed.sum(axis=1) == 1)[which]
        self.codes[:, place] = allowed.argmax(axis=1)[which]
        self.left[place] = allowed, which

    def block(self, decoder: CausalDecoder, first: int, size: int, uniforms: Tensor) -> tuple[Rows, View]:
        """See `Given`."""
        device = uniforms.device
        rows = slice(first, first + size)
        codes = torch.from_numpy(self.codes[rows] + decoder.layout.code_offsets).to(device)
        # A copy: cells are marked as they are drawn.
        known = torch.from_numpy(self.known[rows].copy()).to(device)
        for place, (allowed, which) in self.left.items():
            shares = torch.from_numpy(allowed[which[rows]]).float().to(device)
            some = ~known[:, place] & (shares == 0).any(1)
            if some.any():
                drawn, _ = decoder.draw_restricted(place, codes, known, shares, uniforms[: len(codes), place])
                codes[:, place] = torch.where(some, drawn, codes[:, place])
                known[:, place] |= some
        return Rows(codes, torch.zeros(len(codes), 0, device=device)), view_of(known)

    def narrow(self, codes: np.ndarray, places: np.ndarray) -> np.ndarray:
        """See `Given`."""
        return places

    def finish(self, batch: pa.RecordBatch, first: int) -> pa.RecordBatch:
        """See `Given`."""
        return with_cells(batch, self.table, first)


def known_cells(given: Any, schema: pa.Schema) -> pa.Table:
    """A DataFrame's or an Arrow table's cells in the types of the schema's columns, NaN missing.

    Raises ConditionError for another kind of argument, for columns that the schema has not, and for cells that a
    column's type can't hold exactly.
    """
    if not isinstance(given, pd.DataFrame | pa.Table):
        raise ConditionError(
            f"known cells come as a DataFrame or an Arrow table, but what came is of type {type(given).__name__}"
        )
    table = table_from_frame(given) if isinstance(given, pd.DataFrame) else given
    names = table.column_names
    for name in names:
        if name not in schema.names:
            raise ConditionError(f"no column {name!r}: expected some of {', '.join(schema.names)}")
        if names.count(name) > 1:
            raise ConditionError(f"more than one column is named {name!r}: give each once")
    return pa.table({name: typed_cells(name, table[name], schema.field(name).type) for name in names})


def with_cells(batch: pa.RecordBatch, table: pa.Table, first: int) -> pa.RecordBatch:
    """Rows `first`, `first` + 1, ... of a sample with the cells that `table` has for them exactly as they are."""
    arrays = list(batch.columns)
    for place, field in enumerate(batch.schema):
        if field.name in table.column_names:
            cells = table[field.name].slice(first, len(batch)).combine_chunks()
            arrays[place] = with_known(arrays[place], cells)
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def with_known(array: pa.Array, cells: pa.Array) -> pa.Array:
    """A drawn column with the cells that are not missing in place of what was drawn."""
    drawn = plain_values(array)
    return _like(pc.coalesce(cells.cast(drawn.type), drawn), array)


def _like(values: pa.Array, array: pa.Array) -> pa.Array:
    """Plain values in the type of another array, by the same dictionary where it has one."""
    return like_dictionary(values, array) if pa.types.is_dictionary(array.type) else values.cast(array.type)
