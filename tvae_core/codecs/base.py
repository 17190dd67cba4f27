"""What every column codec offers to the table codec."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from tvae_core.errors import ArtifactError
from tvae_core.layout import ColumnLayout


class ColumnCodec(Protocol):
    """One column's values <-> one integer code per row, and `layout.scalars` real numbers beside it.

    An identifier has no codes: it is not modelled.
    """

    @property
    def name(self) -> str:
        """The column's name."""
        ...

    @property
    def layout(self) -> ColumnLayout:
        """The column's codes and tokens."""
        ...

    def encode(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Values to codes (rows,) int64 and scalars (rows, scalars) float32.

        Raises DataError for values that `fit` has not seen and that have no place between those it saw.
        """
        ...

    def decode(self, codes: np.ndarray, scalars: np.ndarray, draws: np.ndarray, first_row: int) -> pa.Array:
        """Codes and scalars back to values of the column's own Arrow type.

        `draws` (rows,) are uniform on [0, 1): the only randomness a codec uses, for the place of a value
        inside its code. `first_row` is the number of the first row, for codecs that number their rows.
        """
        ...

    def to_dict(self) -> dict[str, Any]:
        """The fitted codec as plain JSON values."""
        ...


def codec_from_dict(plain: Mapping[str, Any]) -> ColumnCodec:
    """Rebuild the codec that `to_dict` described. Raises ArtifactError for an unknown codec."""
    from tvae_core.codecs.categorical import CategoricalCodec
    from tvae_core.codecs.identifier import IdentifierCodec
    from tvae_core.codecs.modes import ModeCodec
    from tvae_core.codecs.numeric import NumericCodec

    readers: dict[str, Any] = {
        "categorical": CategoricalCodec,
        "numeric": NumericCodec,
        "modes": ModeCodec,
        "identifier": IdentifierCodec,
    }
    name = plain.get("codec")
    if name not in readers:
        raise ArtifactError(
            f"unknown codec {name!r} in codecs.json: expected one of {', '.join(sorted(readers))}"
        )
    try:
        codec: ColumnCodec = readers[name].from_dict(plain)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"codecs.json: a {name} codec can't be rebuilt ({type(error).__name__})"
        ) from error
    return codec
