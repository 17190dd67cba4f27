"""The numeric library: a table in, a table out.

TVAE(seed=1).fit("people.parquet").sample(1000)
"""

from tvae_core.codecs import ColumnCodec
from tvae_core.constraints import Constraint, Derived, FixedCombinations, Inequality, Range
from tvae_core.constraints.propose import propose_constraints
from tvae_core.errors import (
    ArtifactError,
    ConditionError,
    DataError,
    DigestError,
    FormatError,
    NotFittedError,
    SchemaError,
    SettingsError,
    TrainingError,
    TVAEError,
    UnreadableError,
)
from tvae_core.model import Decoder, Encoder
from tvae_core.schema import ColumnKind, ColumnSchema, TableSchema, infer_schema
from tvae_core.settings import ModelSettings
from tvae_core.sources import TableSource, as_source
from tvae_core.table import TableCodec
from tvae_core.tvae import TVAE
from tvae_core.version import __version__

__all__ = [
    "TVAE",
    "ArtifactError",
    "ColumnCodec",
    "ColumnKind",
    "ColumnSchema",
    "ConditionError",
    "Constraint",
    "DataError",
    "Decoder",
    "Derived",
    "DigestError",
    "Encoder",
    "FixedCombinations",
    "FormatError",
    "Inequality",
    "ModelSettings",
    "NotFittedError",
    "Range",
    "SchemaError",
    "SettingsError",
    "TVAEError",
    "TableCodec",
    "TableSchema",
    "TableSource",
    "TrainingError",
    "UnreadableError",
    "__version__",
    "as_source",
    "infer_schema",
    "propose_constraints",
]
