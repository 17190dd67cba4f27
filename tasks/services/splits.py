"""The rule by which a row belongs to the holdout: a keyed hash of its number, or of its entity's value.

The hash depends on the seed and on that one number or value, so the answer is the same on every machine, for
every batch size, and wherever a part ends. No row is written anywhere.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tvae_core.errors import DataError, SettingsError

# Which numbers are hashed: a row number and an entity of the same value must not fall together.
_ROWS, _ENTITIES = 0, 1


def check_split(seed: int, holdout_fraction: float) -> None:
    """Raise SettingsError unless the seed is an integer from 0 to 2**64 - 1 and the fraction within (0, 1)."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
        raise SettingsError(f"seed must be an integer from 0 to 2**64 - 1, however: {seed!r}")
    if not 0 < holdout_fraction < 1:
        raise SettingsError(
            f"holdout_fraction must lie between 0 and 1, exclusive, however: {holdout_fraction!r}"
        )


def holdout_rows(first: int, count: int, *, seed: int, holdout_fraction: float) -> np.ndarray:
    """Tell which of the rows `first`, ..., `first + count - 1` are in the holdout.

    Returns:
        Booleans, shape ``(count,)``.
    """
    numbers = np.arange(first, first + count, dtype=np.uint64)
    return _below(_keyed(numbers, seed, _ROWS), holdout_fraction)


def holdout_entities(entity: pa.Array, first: int, *, seed: int, holdout_fraction: float) -> np.ndarray:
    """Tell which rows' entities are in the holdout; `first` is the number of the first of these rows.

    A missing entity (null or NaN) says nothing about whose row it is, so each such row stands for itself.

    Returns:
        Booleans, shape ``(len(entity),)``.

    Raises:
        DataError: the column is nested or binary.
    """
    hashes, missing = _hash_values(entity, seed)
    numbers = np.arange(first, first + len(entity), dtype=np.uint64)
    hashes = np.where(missing, _keyed(numbers, seed, _ROWS), hashes)
    return _below(hashes, holdout_fraction)


def _hash_values(values: pa.Array, seed: int) -> tuple[np.ndarray, np.ndarray]:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    missing = values.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    numbers = _as_integers(values)
    if numbers is not None:
        return _keyed(numbers, seed, _ENTITIES), missing
    try:
        distinct = values.cast(pa.large_string()).dictionary_encode()
    except pa.ArrowException:
        raise DataError(
            f"expected an entity column of numbers, text, dates or times, however its type is {values.type}"
        ) from None
    key = int(seed).to_bytes(8, "big")
    table = np.array(
        [_text_hash(text, key) for text in distinct.dictionary.to_pylist()] or [0], dtype=np.uint64
    )
    return table[pc.fill_null(distinct.indices, 0).to_numpy()], missing


def _as_integers(values: pa.Array) -> np.ndarray | None:
    """The values as uint64, equal where and only where they are equal; None for types without such a form."""
    kind = values.type
    if pa.types.is_null(kind):
        return np.zeros(len(values), dtype=np.uint64)
    if pa.types.is_floating(kind):
        floats = pc.fill_null(values.cast(pa.float64()), 0.0).to_numpy()
        return np.asarray(floats + 0.0).view(np.uint64)  # -0.0 + 0.0 is 0.0: equal numbers, equal bits
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        whole = values.cast(pa.uint64() if kind == pa.uint64() else pa.int64())
    elif pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        width = kind.bit_width
        whole = values.cast(pa.int32() if width == 32 else pa.int64()).cast(pa.int64())
    else:
        return None
    return np.asarray(pc.fill_null(whole, 0).to_numpy()).view(np.uint64)


def _text_hash(text: str, key: bytes) -> int:
    return int.from_bytes(
        hashlib.blake2b(text.encode(), digest_size=8, key=key, person=b"split").digest(), "big"
    )


def _keyed(numbers: np.ndarray, seed: int, purpose: int) -> np.ndarray:
    key = _splitmix64(np.array([int(seed)], dtype=np.uint64)) + np.uint64(purpose)
    return _splitmix64(numbers ^ _splitmix64(key))


def _splitmix64(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195), modulo 2**64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


def _below(hashes: np.ndarray, fraction: float) -> np.ndarray:
    """Whether the hash, read as a number in [0, 1) of 53 bits, falls below the fraction."""
    shares: np.ndarray = (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
    held: np.ndarray = shares < fraction
    return held
