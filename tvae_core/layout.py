"""How a table's columns lie in codes, tokens and flat vectors. The only description of it.

A cell is one integer, its *code*: the finest thing that the model knows of it. Codes are grouped into *tokens*, over
which a column has its softmax. A category, or a number with a token of its own, is one code in one token; a quantile
bin is one token of several codes in ascending order, its *fine* places.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class ColumnLayout:
    """One column's codes: the token of each, its place inside that token, and its rank among the column's values.

    token_of_code, fine_of_code (codes,) int64; ranks (codes,) float in [0, 1], None where codes have no order.
    A column of no codes is not modelled. `scalars` real numbers stand for a value beside its code.
    """

    token_of_code: np.ndarray
    fine_of_code: np.ndarray
    ranks: np.ndarray | None = None
    scalars: int = 0

    @classmethod
    def plain(cls, codes: int, *, ranks: np.ndarray | None = None, scalars: int = 0) -> "ColumnLayout":
        """Every code is a token of its own."""
        return cls(np.arange(codes), np.zeros(codes, np.int64), ranks, scalars)

    @property
    def codes(self) -> int:
        """Number of codes."""
        return len(self.token_of_code)

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return int(self.token_of_code.max(initial=-1)) + 1

    @property
    def fine_places(self) -> int:
        """The most codes that a token has."""
        return int(self.fine_of_code.max(initial=0)) + 1


@dataclass(frozen=True)
class Layout:
    """The modelled columns of a table, in order.

    A flat vector of length `data_dim` holds the scalars of all columns first, then each column's tokens.
    """

    columns: tuple[ColumnLayout, ...]

    @cached_property
    def scalars(self) -> int:
        """Real numbers per row."""
        return sum(c.scalars for c in self.columns)

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """Each column's number of tokens."""
        return tuple(c.tokens for c in self.columns)

    @cached_property
    def codes(self) -> tuple[int, ...]:
        """Each column's number of codes."""
        return tuple(c.codes for c in self.columns)

    @cached_property
    def data_dim(self) -> int:
        """Length of the flat vector."""
        return self.scalars + sum(self.tokens)

    @cached_property
    def token_offsets(self) -> np.ndarray:
        """Place of each column's first token (columns,) among the tokens of all columns."""
        return starts(self.tokens)

    @cached_property
    def code_offsets(self) -> np.ndarray:
        """Place of each column's first code (columns,) among the codes of all columns."""
        return starts(self.codes)

    @property
    def code_dtype(self) -> type[np.integer]:
        """The smallest of int16 and int32 that holds every code."""
        return np.int16 if max(self.codes, default=1) <= np.iinfo(np.int16).max else np.int32


def starts(sizes: Sequence[int]) -> np.ndarray:
    """Where runs of these sizes start when laid end to end (len(sizes),) int64.

    >>> starts([3, 5, 1]).tolist()
    [0, 3, 8]
    """
    return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64) if sizes else np.zeros(0, np.int64)
