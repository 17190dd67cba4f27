"""Everything this library raises on purpose.

    TVAEError
    ├── SettingsError      a parameter has a wrong type or lies outside its range
    ├── SchemaError        a schema contradicts itself, or a table does not have the declared schema
    ├── DataError          a table can't be learned from: no rows, infinities, an unsupported type, ...
    │   └── UnreadableError    the bytes are not Parquet, or are cut short
    ├── TrainingError      the loss is not finite, or training diverges
    ├── ConditionError     a condition that no row could meet, or on a column that can't be conditioned on
    ├── NotFittedError     `sample` or `save` before `fit`
    └── ArtifactError      a stored generator can't be loaded
        ├── DigestError    a file's bytes are not those that were saved
        └── FormatError    the directory was written by a newer version of this library

Messages say what was expected, what came and what to do. They name columns, counts and types, never a
cell's value.
"""


class TVAEError(Exception):
    """Base class of every error that this library raises on purpose."""


class SettingsError(TVAEError, ValueError):
    """A parameter has a wrong type or lies outside its range."""


class SchemaError(TVAEError, ValueError):
    """A schema contradicts itself, or a table does not have the declared schema."""


class DataError(TVAEError, ValueError):
    """A table can't be learned from."""


class UnreadableError(DataError):
    """The bytes are not Parquet, or are cut short."""


class TrainingError(TVAEError, RuntimeError):
    """The loss is not finite, or training diverges: nothing is kept of it."""


class ConditionError(TVAEError, ValueError):
    """A condition that no row could meet, or on a column that can't be conditioned on."""


class NotFittedError(TVAEError, RuntimeError):
    """The generator must be fitted or loaded first."""


class ArtifactError(TVAEError, RuntimeError):
    """A stored generator can't be loaded."""


class DigestError(ArtifactError):
    """A file's bytes are not those that were saved."""


class FormatError(ArtifactError):
    """The directory was written by a newer version of this library."""
