"""Column codecs: a column's values as tokens and scalars, and back. One file per kind of column."""

from tvae_core.codecs.base import ColumnCodec, codec_from_dict
from tvae_core.codecs.categorical import CategoricalCodec
from tvae_core.codecs.identifier import IdentifierCodec
from tvae_core.codecs.modes import ModeCodec
from tvae_core.codecs.numeric import NumericCodec

__all__ = [
    "CategoricalCodec",
    "ColumnCodec",
    "IdentifierCodec",
    "ModeCodec",
    "NumericCodec",
    "codec_from_dict",
]
