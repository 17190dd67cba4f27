"""Score a synthetic table against the real one: every figure that can be computed, and why the others can't.

A figure never stands alone: `details` holds its uncertainty and its control, `reasons` what could not be computed.
Nothing here holds a cell's value: column names, counts and scores only. One file a group of figures; each
offers its `steps`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tasks.services.quality import sdmetrics_version
from tasks.services.scores import Scores
from tasks.services.scoring.drift import OpenEarlier
from tasks.services.scoring.groups import GROUPS, Material, compute
from tasks.services.scoring.tables import Tables, read_tables, refuse_empty
from tasks.services.steps import Steps, one_thread
from tvae_core.metrics.limits import MAX_ROWS
from tvae_core.schema import TableSchema
from tvae_core.sources import TableSource

if TYPE_CHECKING:
    from tvae_core import TVAE

__all__ = ["GROUPS", "score_tables"]


def score_tables(
    real: TableSource,
    synthetic: TableSource,
    *,
    holdout: TableSource | None,
    schema: TableSchema,
    targets: Sequence[str] = (),
    seed: int = 0,
    max_rows: int = MAX_ROWS,
    generator: "TVAE | None" = None,
    earlier: OpenEarlier | None = None,
    groups: Sequence[str] = GROUPS,
    on_progress: Callable[[str], None] | None = None,
) -> Scores:
    """Compute every fidelity, utility and privacy figure that these tables allow.

    A figure that can't be computed is absent from `Scores.figures` and its reason stands in `Scores.reasons`;
    the others are computed all the same.

    Args:
        real: the table that the generator was trained on.
        synthetic: the table to score.
        holdout: real rows that the generator has not seen; None leaves out what needs them.
        schema: kinds of the columns; identifiers are not scored.
        targets: columns to predict for utility.
        seed: decides the rows that are drawn, the folds and the models.
        max_rows: rows of each table that are loaded, drawn at random. Exact and near copies and valid ranges are
            taken from all rows, whatever this is.
        generator: the generator that drew the synthetic table, for a view of its latent space; None leaves it out.
        earlier: opens the release before this one, for the drift since then; None leaves it out, and where it yields
            None, the figures of drift do not apply.
        groups: what to compute; the scores of single groups, joined in their order, are those of all of them.
        on_progress: called with the name of each step before it starts.

    Raises:
        SchemaError: a table lacks a column, or holds values of another family than the schema declares.
        DataError: a table has no rows, no column is left to score, or a numeric column holds infinities.
    """
    given = {"real": real, "synthetic": synthetic, "holdout": holdout}
    sources = {name: source for name, source in given.items() if source is not None}
    refuse_empty(sources, schema)
    scores = Scores()
    run = Steps(scores, on_progress)
    with one_thread():
        with run.timed("read the tables"):
            tables = read_tables(sources, schema, targets, seed, max_rows)
        scores.details.update(_about(tables, max_rows))
        for group in groups:
            compute(group, run, scores, Material(tables, generator, earlier, max_rows))
    return scores


def _about(tables: Tables, max_rows: int) -> dict[str, Any]:
    return {
        "rows": {name: source.num_rows for name, source in tables.sources.items()},
        "rows_used": {name: len(frame) for name, frame in tables.frames.items()},
        "max_rows": max_rows,
        "seed": tables.seed,
        "sdmetrics": sdmetrics_version(),
        "figures": {},
        "columns": {},
        "pairs": [],
        "attacks": {},
    }
