"""Numbers, dates and decimals as int64 or float64, exactly, and back to their own Arrow type."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.arrow_types import is_temporal, parse_type
from tvae_core.codecs.asked import typed_values
from tvae_core.codecs.categorical import plain_values
from tvae_core.errors import DataError

LARGEST = 2**63 - 1
MOST_DECIMALS = 6
# Integers up to here are exact in float64, so value * 10**decimals and back loses nothing.
EXACT_IN_FLOAT = 2**53


@dataclass(frozen=True)
class NumberDomain:
    """How a column's values become plain numbers.

    Integers, decimals, dates and times live in int64, exactly. Floats whose values all have at most six decimals
    live there too, as value * 10**decimals; other floats live in float64.
    """

    name: str
    type: pa.DataType
    decimals: int | None = None

    @property
    def integral(self) -> bool:
        """Whether the numbers are int64 (float64 otherwise)."""
        return not pa.types.is_floating(self.type) or self.decimals is not None

    @property
    def places(self) -> int:
        """How many decimals the numbers stand for: one of them is worth 10 ** -places."""
        return int(self.type.scale) if pa.types.is_decimal(self.type) else self.decimals or 0

    @property
    def limits(self) -> tuple[float, float]:
        """Numbers between these the column's type can hold; with decimals, those that float64 writes exactly."""
        if pa.types.is_decimal(self.type):
            digits = self.type.precision  # of which float64 has fifteen
            most = float(min(10**digits - 10 ** max(0, digits - 15), 2**62))
            return -most, most
        if self.decimals is not None:
            return -float(EXACT_IN_FLOAT), float(EXACT_IN_FLOAT)
        if pa.types.is_floating(self.type):
            largest = float(np.finfo(self.type.to_pandas_dtype()).max) / 2
            return -largest, largest
        # Half of int64 leaves room for differences; dates and times are counted in it too.
        own = np.iinfo(self.type.to_pandas_dtype() if pa.types.is_integer(self.type) else np.int64)
        return float(max(int(own.min), -(2**62))), float(min(int(own.max), 2**62))

    @classmethod
    def of(cls, name: str, array: pa.Array | pa.ChunkedArray) -> "NumberDomain":
        """The domain for a column with these values. Raises DataError for infinities."""
        arrow = array.type
        if not pa.types.is_floating(arrow):
            return cls(name, arrow)
        values, _ = cls(name, arrow).to_numbers(array)
        return cls(name, arrow, decimals_of(values, arrow))

    def to_numbers(self, array: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """The present values (int64 or float64), and a mask (rows,) that is True where the value is missing.

        Raises DataError for infinities, and for integers that int64 can't hold.
        """
        plain = plain_values(array)
        missing = pc.is_null(plain).to_numpy(zero_copy_only=False)
        present = plain.drop_null()
        if pa.types.is_floating(self.type):
            values = pc.cast(present, pa.float64()).to_numpy(zero_copy_only=False)
            self._refuse_infinite(values)
            if self.decimals is None:
                return values, missing
            return np.rint(values * 10.0**self.decimals).astype(np.int64), missing
        if pa.types.is_decimal(self.type):
            return self._unscale(present), missing
        return self._to_int64(present), missing

    def _refuse_infinite(self, values: np.ndarray) -> None:
        infinite = int(np.isinf(values).sum())
        if infinite:
            raise DataError(
                f"column {self.name!r} holds {infinite} infinite values: expected finite numbers; "
                "replace them by missing values or by a limit before training"
            )

    def _to_int64(self, present: pa.Array) -> np.ndarray:
        if is_temporal(present.type):
            present = pc.cast(present, pa.int32() if present.type.bit_width == 32 else pa.int64())
        try:
            return pc.cast(present, pa.int64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            raise DataError(
                f"column {self.name!r} holds integers of 2**63 or more: expected values that int64 can hold; "
                "declare the column categorical or an identifier, or scale it"
            ) from None

    def _unscale(self, present: pa.Array) -> np.ndarray:
        words = np.frombuffer(
            present.cast(pa.decimal128(38, self.type.scale)).buffers()[1] or b"", np.int64
        ).reshape(-1, 2)
        low, high = words[: len(present), 0], words[: len(present), 1]
        if (high != low >> 63).any():
            raise DataError(
                f"column {self.name!r} holds decimals of more than 18 digits: expected fewer; reduce its precision, "
                "or declare it an identifier"
            )
        return low.copy()

    def to_array(self, numbers: np.ndarray, missing: np.ndarray) -> pa.Array:
        """Numbers (rows,) back to the column's own type, null where `missing` (rows,) is True."""
        if pa.types.is_floating(self.type):
            floats = numbers if self.decimals is None else numbers / 10.0**self.decimals
            return pc.cast(pa.array(floats.astype(np.float64), mask=missing), self.type, safe=False)
        integers = pa.array(numbers.astype(np.int64), mask=missing)
        if pa.types.is_decimal(self.type):
            words = np.stack([numbers, numbers >> 63], axis=1).astype(np.int64)
            wide = pa.Array.from_buffers(
                pa.decimal128(38, self.type.scale), len(numbers), [integers.buffers()[0], pa.py_buffer(words)]
            )
            return wide.cast(self.type)
        if is_temporal(self.type) and self.type.bit_width == 32:
            return integers.cast(pa.int32()).cast(self.type)
        return integers.cast(self.type)

    def end_of_range(self, value: Any, *, lower: bool) -> Any:
        """The end of a range (ISO text for dates) as a number of the domain, rounded into the range.

        Raises ConditionError, or ValueError and the like for what is no number.
        """
        if is_temporal(self.type):
            return self.to_numbers(typed_values(self.name, [value], self.type))[0][0]
        if isinstance(value, bool | np.bool_):
            raise TypeError("a truth value is no end of a range")
        if not self.integral:
            return float(value)
        scaled = Decimal(str(value)).scaleb(self.places)
        if pa.types.is_floating(self.type):
            # A hair's width allows for decimals that binary fractions can't write.
            scaled += Decimal("-1e-6") if lower else Decimal("1e-6")
        scaled = min(max(scaled, Decimal(-LARGEST - 1)), Decimal(LARGEST))
        return int(scaled.to_integral_value(ROUND_CEILING if lower else ROUND_FLOOR))

    def to_dict(self) -> dict[str, Any]:
        """The domain as plain JSON values."""
        return {"name": self.name, "type": str(self.type), "decimals": self.decimals}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "NumberDomain":
        """Rebuild what `to_dict` wrote."""
        return cls(plain["name"], parse_type(plain["type"]), plain["decimals"])


def decimals_of(values: np.ndarray, arrow: pa.DataType) -> int | None:
    """The fewest decimals (at most six) that write every value exactly in its own type, or None.

    >>> decimals_of(np.array([0.5, 1.25]), pa.float64())
    2
    """
    if not len(values):
        return None
    own = arrow.to_pandas_dtype()
    for decimals in range(MOST_DECIMALS + 1):
        scale = 10.0**decimals
        scaled = np.rint(values * scale)
        if np.abs(scaled).max() >= EXACT_IN_FLOAT:
            return None
        if np.array_equal((scaled / scale).astype(own), values.astype(own)):
            return decimals
    return None


def grid_of(integers: np.ndarray) -> int:
    """The largest step on which all integers lie, counted from the smallest (1 for fewer than two values).

    >>> grid_of(np.array([100, 250, 400]))
    150
    """
    if len(integers) < 2:
        return 1
    step = np.gcd.reduce(np.unique(integers) - integers.min())
    return max(1, int(step))
