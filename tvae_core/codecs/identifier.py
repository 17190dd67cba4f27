"""Identifiers: never modelled, never stored, made anew for every row."""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.arrow_types import is_text, parse_type
from tvae_core.codecs.categorical import plain_values
from tvae_core.layout import ColumnLayout

DIGITS, UPPER, LOWER = string.digits, string.ascii_uppercase, string.ascii_lowercase
# Shapes are looked for in this many values; a column of mixed shapes gets plain row numbers.
ROWS_LOOKED_AT = 10_000


@dataclass(frozen=True)
class IdentifierCodec:
    """A column of keys: row n of a sample gets key n, in the column's type and, where all keys have one, its shape.

    `template` spells the shape: `0` a digit, `A` and `a` a letter, anything else itself; empty for no common shape.
    Only punctuation is taken from the data, so no real key can be read off the codec.
    """

    name: str
    type: pa.DataType
    template: str = ""

    @property
    def layout(self) -> ColumnLayout:
        """No codes: identifiers are not modelled."""
        return ColumnLayout.plain(0)

    @classmethod
    def fit(cls, name: str, array: pa.Array) -> "IdentifierCodec":
        """Learn the keys' common shape."""
        if not is_text(array.type):
            return cls(name, array.type)
        shapes = {shape(key) for key in plain_values(array)[:ROWS_LOOKED_AT].drop_null().to_pylist()}
        return cls(name, array.type, shapes.pop() if len(shapes) == 1 else "")

    def encode(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Nothing: identifiers are not modelled."""
        return np.zeros(len(array), np.int64), np.zeros((len(array), 0), np.float32)

    def decode(self, codes: np.ndarray, scalars: np.ndarray, draws: np.ndarray, first_row: int) -> pa.Array:
        """Keys for rows `first_row`, `first_row + 1`, ...: unique, counted from 1."""
        numbers = range(first_row + 1, first_row + 1 + len(draws))
        if not is_text(self.type):
            return pc.cast(pa.array(numbers, pa.int64()), self.type)
        return pa.array([fill(self.template, n) for n in numbers], pa.string()).cast(self.type)

    def to_dict(self) -> dict[str, Any]:
        """The fitted codec as plain JSON values."""
        return {"codec": "identifier", "name": self.name, "type": str(self.type), "template": self.template}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "IdentifierCodec":
        """Rebuild what `to_dict` wrote."""
        return cls(plain["name"], parse_type(plain["type"]), str(plain["template"]))


def shape(key: str) -> str:
    """A key's shape.

    >>> shape("AB-0071/x")
    'AA-0000/a'
    """
    return "".join("0" if c.isdigit() else "A" if c.isupper() else "a" if c.isalpha() else c for c in key)


def fill(template: str, number: int) -> str:
    """Key `number` in the shape of `template`, counted from its right end.

    A number too large for the template is written in front of it, so that keys stay unique.

    >>> fill("AA-000", 1), fill("AA-000", 1000), fill("00", 123), fill("", 7)
    ('AA-001', 'AB-000', '1-23', '7')
    """
    out: list[str] = []
    rest = number
    for place in reversed(template):
        alphabet = {"0": DIGITS, "A": UPPER, "a": LOWER}.get(place)
        if alphabet is None:
            out.append(place)
            continue
        rest, index = divmod(rest, len(alphabet))
        out.append(alphabet[index])
    key = "".join(reversed(out))
    if not key:
        return str(number)
    return f"{rest}-{key}" if rest else key
