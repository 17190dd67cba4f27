"""Stage 3: decide which rows train and which stay out."""

from prefect import task

from tasks.measuring import measured
from tasks.progress import say
from tasks.references import FileRef, SplitRef, TableRef
from tasks.services.keys import derive_seed
from tasks.services.planning import read_schema
from tasks.services.tables import split_table
from tasks.stage import STAGE


@task(name="split", **STAGE)
@measured("split")
def split_rows(table: TableRef, schema: FileRef, holdout_fraction: float, seed: int) -> SplitRef:
    """Split by rows, or by entity where the schema names one, so that nobody's rows stand on both sides."""
    entity = read_schema(schema.uri).entity
    split = split_table(
        table, seed=derive_seed(seed, "split"), holdout_fraction=holdout_fraction, entity=entity
    )
    unit = f"by {entity}" if entity else "by row"
    say("split", f"{split.train_rows:,} rows to train, {split.holdout_rows:,} held out, {unit}")
    return split
