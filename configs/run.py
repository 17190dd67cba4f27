"""The configuration of a run: what may be said, within which bounds, and what it means.

The same annotated types make the YAML file's keys, `tvae run --set`, and the parameters (and so the form in the UI) of
the deployment. Defaults of the model live in `tvae_core.ModelSettings` and are nested here, not repeated.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from configs.cluster import ClusterSection
from configs.form import ExplainedByDocstring
from configs.gate import GateSection
from configs.release import ReleaseSection
from configs.section import SEGMENT, Address, Section, absolute_address, described
from tvae_core.conditions import parse_condition
from tvae_core.schema import TableSchema
from tvae_core.settings import CHECKPOINT_MINUTES, ModelSettings


def _declared(value: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """Refuse an inline schema that contradicts itself before a run starts."""
    if isinstance(value, dict):
        TableSchema.from_dict(value)
        return value
    return absolute_address(value) if isinstance(value, str) else value


Model = Annotated[ModelSettings, ExplainedByDocstring(ModelSettings)]

Name = Annotated[
    str,
    described(
        0,
        "Name of the dataset: generators, runs and releases are kept under it. Letters, digits, single . _ - between.",
        pattern=SEGMENT,
        max_length=64,
    ),
]
Input = Annotated[
    Address,
    described(
        1,
        "The real table: a Parquet file, or a directory of Parquet parts. A path, file:///... or s3://bucket/...",
        min_length=1,
    ),
]
StoreAddress = Annotated[
    Address,
    described(
        2,
        "Where generators, runs and releases are kept: a directory, file:///... or s3://bucket/prefix. "
        "Endpoint and credentials come from the environment of the worker.",
        min_length=1,
    ),
]
Seed = Annotated[
    int,
    described(3, "The one seed (0 to 4294967295): the same seed gives the same release.", ge=0, le=2**32 - 1),
]
SchemaChoice = Annotated[
    str | dict[str, Any] | None,
    AfterValidator(_declared),
    described(
        4,
        "What the columns are: address of a YAML file, or the same keys inline (entity, minimum_rows, columns). "
        "`tvae schema DATA` proposes one. Without it a proposal is inferred, used and stored with the run.",
    ),
]
Expectations = Annotated[
    Address | None,
    described(
        5,
        "Address of your own expectations (JSON or YAML), checked beside those that follow from the schema.",
    ),
]
GeneratorAddress = Annotated[
    Address | None,
    described(13, "Sample from this stored generator (its directory's address) and train nothing."),
]
StoredRun = Annotated[
    str,
    described(
        2,
        "A run, as its log and its artifacts name it: the last part of runs/NAME/RUN.",
        pattern=SEGMENT,
        max_length=64,
    ),
]
Force = Annotated[
    bool,
    described(
        14,
        "Go through every stage even when the release of this input, configuration and code is published already. "
        "What is complete is reused all the same.",
    ),
]


class SplitSection(Section):
    """How many rows, or entities, stay out of training, to score against."""

    holdout_fraction: float = described(
        0,
        "Share of rows (of entities, where the schema names one) never trained on; above 0, at most 0.9.",
        default=0.2,
        gt=0,
        le=0.9,
    )


class TrainSection(Section):
    """Where the generator is trained."""

    where: Literal["here", "gpu"] = described(
        0,
        "here: in this process. gpu: as the deployment train-generator/gpu, by a worker of the gpu pool.",
        default="here",
    )
    device: str = described(
        1,
        "auto (a GPU if there is one), cpu, cuda or cuda:N.",
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
    )
    timeout_minutes: float = described(
        2,
        "Minutes to wait for the gpu pool before the training is cancelled; above 0, at most 10080 (a week).",
        default=720.0,
        gt=0,
        le=10_080,
    )
    worker_minutes: float = described(
        3,
        "Minutes that the gpu pool may be without a worker, or paused, before the training is cancelled; above 0, at "
        "most 10080.",
        default=10.0,
        gt=0,
        le=10_080,
    )
    checkpoint_minutes: float = described(
        4,
        "Most minutes of training that a kill may cost, above 0, at most 1440: run again, it goes on from a "
        "checkpoint in the store.",
        default=CHECKPOINT_MINUTES,
        gt=0,
        le=1440,
    )


class SampleSection(Section):
    """How much is drawn, and into how large files."""

    rows: int | None = described(
        0,
        "Synthetic rows, at least 1. Empty: as many as there are training rows.",
        default=None,
        ge=1,
        le=10**11,
    )
    rows_per_part: int = described(
        1, "Rows of one Parquet part, at least 1.", default=1_000_000, ge=1, le=10**9
    )
    where: dict[str, str | int | float | bool | list[str] | None] = described(
        2,
        "Conditions that every row meets, by column: a value, a range such as 30..40, alternatives such as Black|Other,"
        " or nothing for missing. Default preset only.",
        default={},
    )
    balance: str | None = described(
        3, "A categorical column whose levels shall come in even shares. Default preset only.", default=None
    )
    decoding_steps: int | None = described(
        4,
        "In how many runs a row's columns are drawn, at least 1: 1 is the classic TVAE, empty the full chain.",
        default=None,
        ge=1,
        le=10**6,
    )

    given: Address | None = described(
        5,
        "Address of a Parquet table of known cells, missing where unknown: one row is drawn for each of its rows. Not "
        "with rows, where or balance. Default preset only.",
        default=None,
    )

    @model_validator(mode="after")
    def _known_cells_stand_alone(self) -> Self:
        beside = [key for key in ("rows", "where", "balance") if getattr(self, key)]
        if self.given is not None and beside:
            raise ValueError(
                f"given says how many rows there are and what is known of each: leave {', '.join(beside)} out"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """What decides the rows beside the table of known cells."""
        return self.model_dump(exclude={"given"})

    def options(self) -> dict[str, Any]:
        """What `TVAE.sample_batches` is asked for beside the number of rows and the table of known cells."""
        # By name: the order in which a form or a database hands the conditions on decides nothing.
        given = {column: parse_condition(self.where[column]) for column in sorted(self.where)} or None
        return {"given": given, "balance": self.balance, "decoding_steps": self.decoding_steps}


class ScoreSection(Section):
    """What is measured."""

    targets: tuple[str, ...] = described(
        0,
        "Columns to predict: a model trained on synthetic rows is compared with one trained on real rows.",
        default=(),
    )
    max_rows: int = described(
        1,
        "Figures that grow faster than the table are computed on at most this many rows, 100 to 10,000,000.",
        default=50_000,
        ge=100,
        le=10**7,
    )


class RunConfig(BaseModel):
    """Everything that decides a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    name: Name
    input: Input
    store: StoreAddress
    seed: Seed = 0
    table_schema: SchemaChoice = Field(
        default=None, alias="schema"
    )  # `schema` is a method of pydantic's models
    expectations: Expectations = None
    split: SplitSection = described(6, "Rows kept out of training.", default=SplitSection())
    model: Model = described(7, "The generator; what is left out is the preset's.", default=ModelSettings())
    train: TrainSection = described(8, "Where the generator is trained.", default=TrainSection())
    sample: SampleSection = described(9, "How much is drawn.", default=SampleSection())
    score: ScoreSection = described(10, "What is measured.", default=ScoreSection())
    gate: GateSection = described(11, "What a release must reach to be published.", default=GateSection())
    release: ReleaseSection = described(12, "What the release is called.", default=ReleaseSection())
    generator_uri: GeneratorAddress = None
    force: Force = False
    cluster: ClusterSection = described(15, "Validate, draw and score in parts.", default=ClusterSection())

    @classmethod
    def explanations(cls) -> dict[str, str]:
        """What each key means, by the name of the flow's parameter."""
        return {name: field.description or "" for name, field in cls.model_fields.items()}

    def parameters(self) -> dict[str, Any]:
        """The same as the flow's parameters: one entry a section."""
        return {name: getattr(self, name) for name in RunConfig.model_fields}
