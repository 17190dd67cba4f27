"""Generators of older formats, read as if they had been saved today.

A format changes when files that this library wrote would be misread. Then FORMAT_VERSION goes up by one, and MIGRATIONS
gets a function from the format before: settings, codecs and weights in, the same in the new form out. A generator is
migrated each time it is loaded, in memory: what lies on disk keeps its bytes and its digest. Nothing is dropped from
MIGRATIONS, so that every generator ever published can be read.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from tvae_core.errors import ArtifactError

FORMAT_VERSION = 1
Contents = tuple[Any, Any, dict[str, Tensor]]  # settings, codecs, weights
MIGRATIONS: dict[int, Callable[[Any, Any, dict[str, Tensor]], Contents]] = {}  # from that version to the next


def migrate(version: int, settings: Any, codecs: Any, weights: dict[str, Tensor]) -> Contents:
    """What a generator of format `version` holds, in today's form.

    Raises ArtifactError when a migration can't make sense of what it is given.
    """
    for step in range(version, FORMAT_VERSION):
        try:
            settings, codecs, weights = MIGRATIONS[step](settings, codecs, weights)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(
                f"this generator of format {version} can't be read as format {step + 1}: its files don't fit "
                f"together ({type(error).__name__})"
            ) from error
    return settings, codecs, weights
