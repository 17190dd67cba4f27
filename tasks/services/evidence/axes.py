"""Bounds of histogram bins that say nothing of single values: round numbers, whole days, whole units."""

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tvae_core.arrow_types import is_temporal
from tvae_core.schema import ColumnSchema

BINS = 40
_LOG_STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
_SECONDS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH = dt.datetime(1970, 1, 1)
_DAY = 86_400
_DURATIONS = (
    1,
    5,
    15,
    60,
    300,
    900,
    3600,
    4 * 3600,
    12 * 3600,
    *(_DAY * n for n in (1, 2, 7, 14, 28, 91, 182, 365)),
)


@dataclass(frozen=True)
class Axis:
    """How a column's numbers are spelled: `unit` is how many of them make a second, 0 for plain numbers."""

    unit: float = 0.0
    whole: bool = False
    timed: bool = True
    elapsed: bool = False

    @classmethod
    def of(cls, column: ColumnSchema) -> "Axis":
        """The axis of a scored column that holds numbers, dates or times."""
        arrow = column.arrow_type
        if not is_temporal(arrow):
            return cls(whole=pa.types.is_integer(arrow))
        if pa.types.is_date32(arrow):
            return cls(unit=1 / _DAY, whole=True, timed=False)
        unit = "ms" if pa.types.is_date64(arrow) else arrow.unit
        elapsed = pa.types.is_duration(arrow) or pa.types.is_time(arrow)
        return cls(_SECONDS[unit], True, timed=not pa.types.is_date64(arrow), elapsed=elapsed)

    def edges(self, low: float, high: float) -> np.ndarray:
        """About `BINS` bins of equal, round width that cover low to high."""
        step = self._step(max(high - low, 1e-12) / BINS)
        first, last = math.floor(low / step), math.ceil(high / step)
        return np.arange(first, max(last, first + 1) + 1) * step

    def _step(self, least: float) -> float:
        if self.unit:
            seconds = least / self.unit
            fitting = next((s for s in _DURATIONS if s >= seconds), None)
            return (fitting or _nice(seconds / _DURATIONS[-1]) * _DURATIONS[-1]) * self.unit
        return max(1.0, _nice(least)) if self.whole else _nice(least)

    def text(self, value: float) -> str:
        """A value or a bound as people write it."""
        if not self.unit:
            return number_text(value)
        seconds = value / self.unit
        if self.elapsed:
            return str(dt.timedelta(seconds=round(seconds)))
        try:
            moment = _EPOCH + dt.timedelta(seconds=seconds)
        except OverflowError:
            return number_text(value)
        return (
            moment.strftime("%Y-%m-%d %H:%M")
            if self.timed and seconds % _DAY
            else moment.strftime("%Y-%m-%d")
        )


def log_edges(low: float, high: float) -> np.ndarray:
    """Round bounds in even ratios (1, 1.5, 2, 3, 5, 7, 10, ...) that cover low to high, both above 0."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    bounds = np.array([step * 10.0**decade for decade in decades for step in _LOG_STEPS])
    first = max(0, int(np.searchsorted(bounds, low, side="right")) - 1)
    last = min(len(bounds) - 1, int(np.searchsorted(bounds, high)))
    return bounds[first : max(last, first + 1) + 1]


def number_text(value: float) -> str:
    """A number with at most four significant digits below 1,000, whole above, thousands set apart.

    >>> [number_text(v) for v in (0.125, 40.0, 1234567.0, -2.5, 0.0)]
    ['0.125', '40', '1,234,567', '-2.5', '0']
    """
    text = f"{abs(value):,.0f}" if abs(value) >= 1000 or value == int(value) else f"{abs(value):.4g}"
    return f"-{text}" if value < 0 and text != "0" else text


def _nice(least: float) -> float:
    """The smallest of 1, 2, 5, 10 times a power of ten that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= least * (1 - 1e-9))
