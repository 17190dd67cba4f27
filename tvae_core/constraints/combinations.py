"""Columns whose combinations seen in training are the only ones: modelled as one column, the combination's number."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.codecs.asked import open_end, typed_values
from tvae_core.codecs.categorical import CategoricalCodec, common_dictionary, is_ordered, plain_values
from tvae_core.constraints.base import Changes, Columns, batches_of, check_keys, check_names
from tvae_core.errors import ConditionError, DataError, SchemaError
from tvae_core.holders import LevelCounts
from tvae_core.sources import TableSource

if TYPE_CHECKING:
    from tvae_core.schema import ColumnSchema

# A level's number where a cell is not known.
UNKNOWN = -1
NO_LIMIT = 2**31


@dataclass(frozen=True)
class FixedCombinations:
    """Only the combinations of values (missing ones included) that training saw may occur."""

    kind: ClassVar[str] = "fixed_combinations"

    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.columns) < 2:
            raise SchemaError("columns must name two columns or more")

    @property
    def label(self) -> str:
        """See `Constraint`."""
        return f"combinations of {', '.join(map(repr, self.columns))}"

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Constraint`: nothing beside the columns that it writes."""
        return ()

    @property
    def writes(self) -> tuple[str, ...]:
        """See `Constraint`."""
        return self.columns

    def check(self, columns: "Mapping[str, ColumnSchema]") -> None:
        """See `Constraint`."""
        keys = [name for name in self.columns if columns[name].kind == "identifier"]
        if keys:
            raise SchemaError(f"{', '.join(keys)} can't be combined: identifiers are made anew for every row")

    def broken_rows(self, source: TableSource) -> Iterator[np.ndarray]:
        """See `Constraint`: what a table holds is what is allowed."""
        return iter(())

    def fit(self, source: TableSource) -> "FittedCombinations":
        """See `Constraint`; every table obeys, for what it holds is what is allowed."""
        seen = seen_combinations(source, self.columns)
        codecs = tuple(
            CategoricalCodec.fit(name, as_in_source(seen[name], source, name), most_levels=NO_LIMIT)
            for name in self.columns
        )
        codes = np.stack([c.encode(seen[c.name])[0] for c in codecs], axis=1)
        return FittedCombinations(self, codecs, np.unique(codes, axis=0))

    def to_dict(self) -> dict[str, Any]:
        """See `Constraint`."""
        return {"columns": list(self.columns)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "FixedCombinations":
        """See `Constraint`."""
        check_keys(plain, ("columns",))
        return cls(check_names(plain["columns"], "columns"))

    def restored(self, state: Mapping[str, Any]) -> "FittedCombinations":
        """See `Constraint`."""
        codecs = tuple(CategoricalCodec.from_dict(plain) for plain in state["codecs"])
        codes = np.array(state["codes"], np.int64).reshape(-1, len(codecs))
        return FittedCombinations(self, codecs, codes)


@dataclass(frozen=True)
class FittedCombinations:
    """The combinations seen (n, columns), in ascending order, as level numbers of one codec a column."""

    declared: FixedCombinations
    codecs: tuple[CategoricalCodec, ...]
    codes: np.ndarray

    @property
    def key(self) -> str:
        """The column under whose name the combination's number is modelled."""
        return self.declared.columns[0]

    def protected(self, source: TableSource, k: int, holders: np.ndarray | None) -> "FittedCombinations":
        """See `FittedConstraint`: combinations of fewer than k holders, and levels in no other, are forgotten."""
        counts, start = LevelCounts(), 0
        for columns in batches_of(source, self.declared.columns):
            numbers = self.reduce(columns)[self.key]
            assert numbers is not None
            counts.update(numbers, None if holders is None else holders[start : start + len(numbers)])
            start += len(numbers)
        levels, held, _ = counts.result()
        assert levels is not None
        kept = np.sort(levels.to_numpy()[held >= k])
        if len(kept) == len(self.codes):
            return self
        if not len(kept):
            raise DataError(
                f"none of the {self.declared.label} is held by {k} or more: take the constraint out, or lower protect_k"
            )
        codecs, codes = [], self.codes[kept]
        for place, codec in enumerate(self.codecs):
            used, numbers = np.unique(codes[:, place], return_inverse=True)
            present = used[used < len(codec.levels)]
            codecs.append(codec.only(codec.levels.take(pa.array(present))))
            codes[:, place] = numbers + (numbers >= len(present))  # missing comes after the pool
        return replace(self, codecs=tuple(codecs), codes=codes)

    def reduced(self, columns: "Mapping[str, ColumnSchema]") -> "dict[str, ColumnSchema | None]":
        """See `FittedConstraint`; the numbers of the combinations are a closed list, all others are pooled."""
        from tvae_core.schema import ColumnKind

        kind, numbers = ColumnKind.CATEGORICAL, tuple(range(len(self.codes)))
        number = replace(
            columns[self.key], kind=kind, type="int32", minimum=None, maximum=None, categories=numbers
        )
        return {**dict.fromkeys(self.declared.columns), self.key: number}

    def reduce(self, columns: Columns) -> Changes:
        """See `FittedConstraint`."""
        codes = np.stack([codec.encode(columns[codec.name])[0] for codec in self.codecs], axis=1)
        every = np.concatenate([self.codes, codes])
        _, inverse = np.unique(every, axis=0, return_inverse=True)
        known, rows = np.split(inverse.reshape(-1), [len(self.codes)])
        numbers = np.full(inverse.max(initial=-1) + 1, UNKNOWN, np.int32)
        numbers[known] = np.arange(len(known))
        return {**dict.fromkeys(self.declared.columns), self.key: pa.array(numbers[rows])}

    def restore(self, columns: Columns) -> tuple[dict[str, pa.Array], int]:
        """See `FittedConstraint`; never a repair."""
        numbers = columns[self.key].to_numpy(zero_copy_only=False)
        none = np.zeros((len(numbers), 0), np.float32)
        return {
            codec.name: codec.decode(self.codes[numbers, place], none, np.zeros(len(numbers)), 0)
            for place, codec in enumerate(self.codecs)
        }, 0

    def give(self, cells: Columns, *, lenient: bool) -> Changes:
        """See `FittedConstraint`: for each row the list of the combinations that its given cells leave."""
        if not any(codec.name in cells for codec in self.codecs):
            return {}
        fits, which = self._fits(cells)
        possible = np.asarray(fits.any(axis=1))
        never = int((~possible[which]).sum())
        if never and not lenient:
            raise ConditionError(f"{never} rows give {self.declared.label} that training never saw")
        told = possible & ~fits.all(axis=1)
        left = [np.flatnonzero(row) if some else None for row, some in zip(fits, told.tolist(), strict=True)]
        lists = pa.array(left, pa.list_(pa.int32()))
        numbers = pa.DictionaryArray.from_arrays(pa.array(which, pa.int32()), lists)
        return {**dict.fromkeys(self.declared.columns), self.key: numbers}

    def _fits(self, cells: Columns) -> tuple[np.ndarray, np.ndarray]:
        """Which combinations have each pattern of known cells (patterns, combinations), and each row's pattern."""
        rows = len(next(iter(cells.values())))
        known = np.full((rows, len(self.codecs)), UNKNOWN, np.int64)
        for place, codec in enumerate(self.codecs):
            if codec.name in cells:
                known[:, place] = self._levels(codec, cells[codec.name])
        patterns, which = np.unique(known, axis=0, return_inverse=True)
        fits = np.ones((len(patterns), len(self.codes)), bool)
        for wanted, has in zip(patterns.T[:, :, None], self.codes.T, strict=True):
            fits &= (wanted == has) | (wanted == UNKNOWN)
        return fits, which.reshape(-1)

    def settle(self, columns: Columns, cells: Columns, *, free: bool) -> dict[str, pa.Array]:
        """See `FittedConstraint`: nothing is read."""
        return {}

    def broken(self, columns: Columns) -> np.ndarray:
        """See `FittedConstraint`; a missing value breaks nothing."""
        fits, which = self._fits(columns)
        possible = np.asarray(fits.any(axis=1))
        return ~possible[which]

    def _levels(self, codec: CategoricalCodec, array: pa.Array) -> np.ndarray:
        levels = np.full(len(array), UNKNOWN, np.int64)
        plain = plain_values(array)
        present = plain.is_valid().to_numpy(zero_copy_only=False)
        try:
            levels[present] = codec.encode(plain.drop_null())[0]
        except DataError as error:
            raise ConditionError(f"{error}: such a cell can't be given") from None
        except pa.ArrowInvalid:
            raise ConditionError(
                f"column {codec.name!r} holds {codec.type}: expected cells of that type"
            ) from None
        return levels

    def condition(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """See `FittedConstraint`: the combinations that all conditions leave."""
        named = [codec for codec in self.codecs if codec.name in given]
        if not named:
            return dict(given)
        left = np.ones(len(self.codes), bool)
        for place, codec in enumerate(self.codecs):
            if codec.name in given:
                left &= allowed_levels(codec, given[codec.name])[self.codes[:, place]]
        if not left.any():
            raise ConditionError(
                f"no training row has the {self.declared.label} asked for; loosen a condition"
            )
        out = {name: value for name, value in given.items() if name not in self.declared.columns}
        return {**out, self.key: np.flatnonzero(left).tolist()}

    def balance(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """See `FittedConstraint`: for a column each of whose levels stands in one combination."""
        named = [name for name in wanted if name in self.declared.columns]
        if not named:
            return dict(wanted)
        place = self.declared.columns.index(named[0])
        codec, levels = self.codecs[place], self.codes[:, place]
        if len(named) > 1 or len(np.unique(levels)) < len(levels):
            raise ConditionError(
                f"column {named[0]!r} can't be balanced: its levels stand in several {self.declared.label}"
            )
        shares = wanted[named[0]]
        if shares is None:
            shares = dict.fromkeys(codec.levels.to_pylist(), 1.0)
        codes = self._levels(codec, typed_values(codec.name, list(shares), codec.type))
        numbers = {int(level): number for number, level in enumerate(levels)}
        by_number = {numbers[int(c)]: share for c, share in zip(codes, shares.values(), strict=True)}
        return {self.key if name in named else name: by_number if name in named else value
                for name, value in wanted.items()}  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """See `FittedConstraint`."""
        return {"codecs": [codec.to_dict() for codec in self.codecs], "codes": self.codes.tolist()}


def allowed_levels(codec: CategoricalCodec, wanted: Any) -> np.ndarray:
    """Which codes of a column (codes,) bool a condition allows. Raises ConditionError."""
    allowed = np.zeros(codec.layout.codes, bool)
    if isinstance(wanted, tuple):
        if len(wanted) != 2:
            raise ConditionError(
                f"column {codec.name!r}: a range is (low, high), but it has {len(wanted)} ends"
            )
        inside = np.ones(len(codec.levels), bool)
        for end, test in zip(wanted, (pc.greater_equal, pc.less_equal), strict=True):
            if not open_end(end, lower=test is pc.greater_equal):
                inside &= test(codec.levels, typed_values(codec.name, [end], codec.type)[0]).to_numpy(
                    zero_copy_only=False
                )
        allowed[: len(codec.levels)] = inside
        return allowed
    values = list(wanted) if isinstance(wanted, list | set | frozenset | np.ndarray) else [wanted]
    try:
        allowed[codec.encode(typed_values(codec.name, values, codec.type))[0]] = True
    except DataError as error:
        raise ConditionError(f"{error}: a value that was never seen can't be asked for") from None
    return allowed


def as_in_source(array: pa.Array, source: TableSource, name: str) -> pa.Array:
    """Plain values of a table's column in the column's own type; an ordered one keeps its dictionary."""
    arrow = source.schema.field(name).type
    if not is_ordered(arrow):
        encoded = array.dictionary_encode() if pa.types.is_dictionary(arrow) else array
        return encoded.cast(arrow)
    dictionary = common_dictionary(name, (columns[name] for columns in batches_of(source, [name])))
    indices = pc.index_in(array, value_set=dictionary).cast(arrow.index_type)
    return pa.DictionaryArray.from_arrays(indices, dictionary, ordered=True)


def seen_combinations(source: TableSource, names: tuple[str, ...]) -> pa.Table:
    """Every combination of some columns' values once, missing ones included; one pass."""
    seen: pa.Table | None = None
    for columns in batches_of(source, names):
        part = (
            pa.table({name: plain_values(columns[name]) for name in names})
            .group_by(list(names))
            .aggregate([])
        )
        seen = part if seen is None else pa.concat_tables([seen, part]).group_by(list(names)).aggregate([])
    if seen is None:
        raise DataError("the table has no rows: expected at least two")
    return pa.table({name: seen[name].combine_chunks() for name in names})
