"""What every step of a scoring works on: the tables as sources, and their sampled rows as tidy frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tvae_core.errors import DataError
from tvae_core.metrics import sample_rows, tidy
from tvae_core.metrics.frames import entities, scored_columns
from tvae_core.schema import TableSchema
from tvae_core.sources import TableSource

NO_HOLDOUT = "it needs a holdout table, and none was given"


@dataclass(frozen=True)
class Tables:
    """The three tables as sources, their sampled rows as tidy frames, and the entity of each sampled row.

    Keys are ``real``, ``synthetic`` and, where there is one, ``holdout``; `targets` are the columns to predict.
    """

    schema: TableSchema
    sources: Mapping[str, TableSource]
    frames: dict[str, pd.DataFrame]
    groups: Mapping[str, np.ndarray | None]
    targets: tuple[str, ...]
    seed: int

    @property
    def real(self) -> pd.DataFrame:
        """Sampled training rows."""
        return self.frames["real"]

    @property
    def synthetic(self) -> pd.DataFrame:
        """Sampled synthetic rows."""
        return self.frames["synthetic"]

    @property
    def holdout(self) -> pd.DataFrame:
        """Sampled holdout rows. Raises DataError when no holdout was given."""
        self.need_holdout()
        return self.frames["holdout"]

    @property
    def three(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Train, holdout and synthetic rows, as attacks take them. Raises DataError when no holdout was given."""
        return self.real, self.holdout, self.synthetic

    @property
    def has_holdout(self) -> bool:
        """Whether a holdout was given."""
        return "holdout" in self.sources

    def need_holdout(self) -> None:
        """Raises DataError when no holdout was given."""
        if not self.has_holdout:
            raise DataError(NO_HOLDOUT)

    def groups_with(self, other: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Entities of the real rows and of the other table's, whose rows stand alone where it has none."""
        of_real, of_other = self.groups["real"], self.groups[other]
        if of_real is None:
            return None
        return of_real, np.arange(len(self.frames[other])) if of_other is None else of_other


def read_tables(
    sources: Mapping[str, TableSource], schema: TableSchema, targets: Sequence[str], seed: int, max_rows: int
) -> Tables:
    """Draw at most `max_rows` rows of every table.

    Raises:
        SchemaError: a table lacks a column, or holds values of another family than the schema declares.
        DataError: a numeric column holds infinities.
    """
    drawn = {name: sample_rows(source, max_rows, seed) for name, source in sources.items()}
    return Tables(
        schema,
        sources,
        frames={name: tidy(table, schema) for name, table in drawn.items()},
        groups={name: entities(table, schema) for name, table in drawn.items()},
        targets=tuple(targets),
        seed=seed,
    )


def refuse_empty(sources: Mapping[str, TableSource], schema: TableSchema) -> None:
    """Raises DataError for a table without rows, or a schema without a column to score."""
    empty = [name for name, source in sources.items() if source.num_rows == 0]
    if empty:
        raise DataError(f"expected rows in every table, however there are none in: {', '.join(empty)}")
    if not scored_columns(schema):
        raise DataError("expected at least one column that is no identifier, however there is none to score")
