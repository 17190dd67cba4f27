"""The steps of a scoring that gather evidence; one that fails leaves its plot out, and the others go on."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tasks.services.evidence.columns import overlay
from tasks.services.evidence.disclosure import FEWEST, Rows
from tasks.services.evidence.maps import latent_map, pair_map, projection_map
from tasks.services.scores import Scores
from tasks.services.steps import Steps
from tvae_core.metrics.frames import entities, sample_rows, scored_columns
from tvae_core.schema import TableSchema
from tvae_core.sources import TableSource

if TYPE_CHECKING:
    from tvae_core import TVAE

MOST_ROWS = 50_000
"""Rows of each table that are drawn: more would not change a plot."""
LATENT_ROWS = 10_000
FORMAT = 1


@dataclass(frozen=True)
class Drawn:
    """Tidy frames of the real and the synthetic rows, and the entity of each real row."""

    schema: TableSchema
    real: pd.DataFrame
    synthetic: pd.DataFrame
    rows: Rows

    @classmethod
    def of(
        cls, schema: TableSchema, frames: dict[str, pd.DataFrame], entity: np.ndarray | None, seed: int
    ) -> "Drawn":
        """At most `MOST_ROWS` rows of each frame, drawn at random."""
        real, synthetic = (
            frames[name].sample(min(MOST_ROWS, len(frames[name])), random_state=seed)
            for name in ("real", "synthetic")
        )
        return cls(schema, real, synthetic, Rows(None if entity is None else entity[real.index.to_numpy()]))


def gather_evidence(
    run: Steps, scores: Scores, drawn: Drawn, source: TableSource, generator: "TVAE | None", seed: int
) -> None:
    """Fill ``scores.evidence`` with what a report draws of the tables and, where one is given, of the generator."""
    scores.evidence.update(format=FORMAT, fewest=FEWEST)
    run.step("plots: columns", [], _columns, drawn)
    run.step("plots: pairs", [], _pairs, drawn)
    run.step("plots: projection", [], _projection, drawn)
    if generator is not None:
        run.step("plots: latent space", [], _latent, generator, source, drawn.schema, seed)


def _columns(scores: Scores, drawn: Drawn) -> None:
    scores.evidence["columns"] = [
        overlay(column, drawn.real[column.name], drawn.synthetic[column.name], drawn.rows)
        for column in scored_columns(drawn.schema)
    ]


def _pairs(scores: Scores, drawn: Drawn) -> None:
    if drawn.real.shape[1] > 1:
        scores.evidence["pairs"] = pair_map(drawn.real, drawn.synthetic)


def _projection(scores: Scores, drawn: Drawn) -> None:
    found = projection_map(drawn.real, drawn.synthetic, drawn.rows)
    if found is not None:
        scores.evidence["projection"] = found


def _latent(scores: Scores, generator: "TVAE", source: TableSource, schema: TableSchema, seed: int) -> None:
    from tvae_core.latent import latent_space

    table = sample_rows(source, LATENT_ROWS, seed)
    rows = Rows(entities(table, schema))
    scores.evidence["latent"] = latent_map(latent_space(generator, table, seed=seed), rows)


def keep_curve(scores: Scores, name: str, curve: Any) -> None:
    """Keep a detector's ROC curve: true positive rates at even false positive rates in 0 .. 1."""
    scores.evidence.setdefault("detector", {})[name] = [round(rate, 4) for rate in curve]
