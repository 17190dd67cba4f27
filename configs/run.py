"""The configuration of a run: what may be said, within which bounds, and what it means.

The same annotated types make the YAML file's keys, `tvae run --set`, and the parameters (and so the form in the UI) of
the deployment. Defaults of the model live in `tvae_core.ModelSettings` and are nested here, not repeated.
"""

from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from configs.form import ExplainedByDocstring
from tvae_core.conditions import parse_condition
from tvae_core.metrics.rules import Rule, default_rules
from tvae_core.schema import TableSchema
from tvae_core.settings import ModelSettings

_SEGMENT = r"^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$"
_SCHEMES = ("file", "s3")


def _described(position: int, description: str, **bounds: Any) -> Any:
    """A field with its explanation, its bounds and its place in the form."""
    return Field(description=description, json_schema_extra={"position": position}, **bounds)


def _address(value: str) -> str:
    """Accept an absolute local path, file:// or s3://, and never credentials inside an address."""
    scheme, separator, rest = value.partition("://")
    if not separator:
        if not PurePath(value).is_absolute():
            raise ValueError(
                "a relative path means nothing where a worker runs: give an absolute path, file:///... or s3://bucket/..."
            )
        return value
    if scheme not in _SCHEMES:
        raise ValueError(
            f"an address is a local path, file:///... or s3://bucket/...; the scheme {scheme}:// is neither"
        )
    if "@" in rest.partition("/")[0]:
        raise ValueError(
            "an address must not carry credentials: leave them to the environment (AWS_PROFILE, AWS_ACCESS_KEY_ID, ...)"
        )
    return value


def _declared(value: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """Refuse an inline schema that contradicts itself before a run starts."""
    if isinstance(value, dict):
        TableSchema.from_dict(value)
        return value
    return _address(value) if isinstance(value, str) else value


GateRule = Annotated[Rule, ExplainedByDocstring(Rule)]
Model = Annotated[ModelSettings, ExplainedByDocstring(ModelSettings)]
Address = Annotated[str, AfterValidator(_address)]

Name = Annotated[
    str,
    _described(
        0,
        "Name of the dataset: generators, runs and releases are kept under it. Letters, digits, single . _ - between.",
        pattern=_SEGMENT,
        max_length=64,
    ),
]
Input = Annotated[
    Address,
    _described(
        1,
        "The real table: a Parquet file, or a directory of Parquet parts. A path, file:///... or s3://bucket/...",
        min_length=1,
    ),
]
StoreAddress = Annotated[
    Address,
    _described(
        2,
        "Where generators, runs and releases are kept: a directory, file:///... or s3://bucket/prefix. "
        "Endpoint and credentials come from the environment of the worker.",
        min_length=1,
    ),
]
Seed = Annotated[
    int,
    _described(
        3, "The one seed (0 to 4294967295): the same seed gives the same release.", ge=0, le=2**32 - 1
    ),
]
SchemaChoice = Annotated[
    str | dict[str, Any] | None,
    AfterValidator(_declared),
    _described(
        4,
        "What the columns are: address of a YAML file, or the same keys inline (entity, minimum_rows, columns). "
        "`tvae schema DATA` proposes one. Without it a proposal is inferred, used and stored with the run.",
    ),
]
Expectations = Annotated[
    Address | None,
    _described(
        5,
        "Address of your own expectations (JSON or YAML), checked beside those that follow from the schema.",
    ),
]
GeneratorAddress = Annotated[
    Address | None,
    _described(13, "Sample from this stored generator (its directory's address) and train nothing."),
]


class Section(BaseModel):
    """A part of the configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitSection(Section):
    """How many rows, or entities, stay out of training, to score against."""

    holdout_fraction: float = _described(
        0,
        "Share of rows (of entities, where the schema names one) never trained on; above 0, at most 0.9.",
        default=0.2,
        gt=0,
        le=0.9,
    )


class TrainSection(Section):
    """Where the generator is trained."""

    where: Literal["here", "gpu"] = _described(
        0,
        "here: in this process. gpu: as the deployment train-generator/gpu, by a worker of the gpu pool.",
        default="here",
    )
    device: str = _described(
        1,
        "auto (a GPU if there is one), cpu, cuda or cuda:N.",
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
    )
    timeout_minutes: float = _described(
        2,
        "Minutes to wait for the gpu pool before the training is cancelled; above 0, at most 10080 (a week).",
        default=720.0,
        gt=0,
        le=10_080,
    )


class SampleSection(Section):
    """How much is drawn, and into how large files."""

    rows: int | None = _described(
        0,
        "Synthetic rows, at least 1. Empty: as many as there are training rows.",
        default=None,
        ge=1,
        le=10**11,
    )
    rows_per_part: int = _described(
        1, "Rows of one Parquet part, at least 1.", default=1_000_000, ge=1, le=10**9
    )
    where: dict[str, str | int | float | bool | list[str] | None] = _described(
        2,
        "Conditions that every row meets, by column: a value, a range such as 30..40, alternatives such as Black|Other,"
        " or nothing for missing. Default preset only.",
        default={},
    )
    balance: str | None = _described(
        3, "A categorical column whose levels shall come in even shares. Default preset only.", default=None
    )
    decoding_steps: int | None = _described(
        4,
        "In how many runs a row's columns are drawn, at least 1: 1 is the classic TVAE, empty the full chain.",
        default=None,
        ge=1,
        le=10**6,
    )

    def options(self) -> dict[str, Any]:
        """What `TVAE.sample_batches` is asked for beside the number of rows."""
        given = {column: parse_condition(text) for column, text in self.where.items()} or None
        return {"given": given, "balance": self.balance, "decoding_steps": self.decoding_steps}


class ScoreSection(Section):
    """What is measured."""

    targets: tuple[str, ...] = _described(
        0,
        "Columns to predict: a model trained on synthetic rows is compared with one trained on real rows.",
        default=(),
    )
    max_rows: int = _described(
        1,
        "Figures that grow faster than the table are computed on at most this many rows, 100 to 10,000,000.",
        default=50_000,
        ge=100,
        le=10**7,
    )


class GateSection(Section):
    """What a release must reach to be published."""

    rules: tuple[GateRule, ...] | None = _described(
        0,
        "One rule a figure; a figure that could not be computed does not pass. Empty: the rules that ship, on "
        "fidelity, privacy and, with targets, utility. An empty list: everything is published.",
        default=None,
    )


class ReleaseSection(Section):
    """What the release is called."""

    version: str | None = _described(
        0,
        "Version of the release, never overwritten. Empty: derived from input, settings and code, so that the same "
        "run again is the same release.",
        default=None,
        pattern=_SEGMENT,
        max_length=64,
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
    split: SplitSection = _described(6, "Rows kept out of training.", default=SplitSection())
    model: Model = _described(7, "The generator; what is left out is the preset's.", default=ModelSettings())
    train: TrainSection = _described(8, "Where the generator is trained.", default=TrainSection())
    sample: SampleSection = _described(9, "How much is drawn.", default=SampleSection())
    score: ScoreSection = _described(10, "What is measured.", default=ScoreSection())
    gate: GateSection = _described(11, "What a release must reach to be published.", default=GateSection())
    release: ReleaseSection = _described(12, "What the release is called.", default=ReleaseSection())
    generator_uri: GeneratorAddress = None

    @classmethod
    def explanations(cls) -> dict[str, str]:
        """What each key means, by the name of the flow's parameter."""
        return {name: field.description or "" for name, field in cls.model_fields.items()}

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The gate's rules: those given, or those that ship."""
        return default_rules(self.score.targets) if self.gate.rules is None else self.gate.rules

    def parameters(self) -> dict[str, Any]:
        """The same as the flow's parameters: one entry a section."""
        return {name: getattr(self, name) for name in type(self).model_fields}
