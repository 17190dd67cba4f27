"""The flow that trains a generator: run in the parent's process, or by a worker of the gpu pool."""

from prefect import flow

from tasks.measuring import keep_training_cost
from tasks.references import FileRef, GeneratorRef, SplitRef
from tasks.train import fit_and_keep
from tvae_core.settings import CHECKPOINT_MINUTES, ModelSettings


@flow(
    name="train-generator", persist_result=False, description="Train one generator and keep it in the store."
)
def train_generator(
    *,
    name: str,
    version: str,
    store: str,
    split: SplitRef,
    schema_file: FileRef,
    model: ModelSettings = ModelSettings(),
    seed: int = 0,
    device: str = "auto",
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
) -> GeneratorRef:
    """Train a generator on the train side of a split. A version that the store holds already is returned as it is.

    Started by `synthesize`, which makes the references; to train alone, start `synthesize`.

    Args:
        name: Name of the dataset; the generator is kept under generators/NAME/VERSION.
        version: Version of the generator, derived by `synthesize` from everything that decides its content.
        store: Where the generator is kept: a directory, file:///... or s3://bucket/prefix.
        split: The table by address and digest, and the rule that says which rows train.
        schema_file: The YAML file with the table's schema, by address and digest.
        model: The generator's settings; what is left out is the preset's.
        seed: The one seed of the run, 0 to 4294967295.
        device: auto (a GPU if there is one), cpu, cuda or cuda:N.
        checkpoint_minutes: Most minutes of training that a kill may cost; run again, it goes on from a checkpoint.
    """
    generator = fit_and_keep(
        split=split,
        schema=schema_file,
        model=model,
        seed=seed,
        device=device,
        store=store,
        name=name,
        version=version,
        checkpoint_minutes=checkpoint_minutes,
    )
    keep_training_cost(store, name, version, split.train_rows)
    return generator
