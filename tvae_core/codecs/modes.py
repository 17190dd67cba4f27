"""Mode-specific normalisation of continuous columns: Xu et al. 2019 (arXiv:1907.00503), section 4.2."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tvae_core.codecs.domain import NumberDomain
from tvae_core.codecs.guard import Guard
from tvae_core.errors import DataError
from tvae_core.layout import ColumnLayout

MOST_MODES = 10
# Modes of less weight than this are not kept.
LEAST_WEIGHT = 0.005
# The mixture is fitted to at most this many rows: its ten modes don't move with more, and the time would.
ROWS_FOR_MIXTURE = 10_000
# A value is (value - mean) / (4 std) inside its mode (the paper's alpha), kept inside tanh's open range.
WIDTHS = 4.0
LARGEST_ALPHA = 0.99


@dataclass(frozen=True)
class ModeCodec:
    """A value as its mode (one code) and its place inside that mode (one scalar in [-0.99, 0.99]).

    `means`, `stds`, `weights` (M,) describe the modes in ascending order of mean; values are drawn back inside
    [`low`, `high`], the training range. Missing is a mode of its own with scalar 0.
    """

    domain: NumberDomain
    means: np.ndarray
    stds: np.ndarray
    weights: np.ndarray
    low: int | float
    high: int | float
    missing: bool
    seed: int

    @property
    def name(self) -> str:
        """The column's name."""
        return self.domain.name

    @property
    def layout(self) -> ColumnLayout:
        """One code a mode, one for missing, and one scalar."""
        return ColumnLayout.plain(len(self.means) + self.missing, scalars=1)

    @classmethod
    def fit(
        cls, name: str, array: pa.Array | pa.ChunkedArray, *, seed: int, guard: Guard | None = None
    ) -> "ModeCodec":
        """Fit a variational Gaussian mixture of at most ten modes to a column's values, clipped to a guard's range."""
        domain = NumberDomain.of(name, array)
        numbers, missing = domain.to_numbers(array)
        if not len(numbers):
            empty = np.zeros(0)
            return cls(domain, empty, empty, empty, 0, 0, True, seed)
        if guard is not None:
            numbers = np.clip(numbers, *guard.limits(domain))
        means, stds, weights = fit_modes(numbers.astype(np.float64), seed)
        low, high = numbers.min().item(), numbers.max().item()
        return cls(domain, means, stds, weights, low, high, bool(missing.any()), seed)

    def encode(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Modes drawn from each value's responsibilities, and the places inside them.

        The draw is fixed by the codec's seed and the values, so encoding the same column twice gives the same codes.
        """
        numbers, missing = self.domain.to_numbers(array)
        if missing.any() and not self.missing:
            raise DataError(
                f"column {self.name!r} has {int(missing.sum())} missing values never seen in training"
            )
        codes = np.full(len(missing), len(self.means), np.int64)
        scalars = np.zeros((len(missing), 1), np.float32)
        if len(numbers):
            values = numbers.astype(np.float64)
            mode = self._draw_modes(values)
            alpha = (values - self.means[mode]) / (WIDTHS * self.stds[mode])
            codes[~missing] = mode
            scalars[~missing, 0] = np.clip(alpha, -LARGEST_ALPHA, LARGEST_ALPHA)
        return codes, scalars

    def _draw_modes(self, values: np.ndarray) -> np.ndarray:
        squares = ((values[:, None] - self.means) / self.stds) ** 2
        log_density = np.log(self.weights) - np.log(self.stds) - 0.5 * squares  # (n, modes)
        density = np.exp(log_density - log_density.max(1, keepdims=True))
        steps = density.cumsum(1)
        draws = np.random.Generator(np.random.Philox(self.seed)).random(len(values))
        return (steps < (draws * steps[:, -1])[:, None]).sum(1)

    def decode(self, codes: np.ndarray, scalars: np.ndarray, draws: np.ndarray, first_row: int) -> pa.Array:
        """Values from modes and places, rounded to the column's own precision and kept in the training range."""
        is_missing = codes >= len(self.means)
        if not len(self.means):
            return self.domain.to_array(np.zeros(len(codes), np.int64), is_missing)
        mode = np.minimum(codes, len(self.means) - 1)
        values = (
            self.means[mode] + np.clip(scalars[:, 0], -1, 1).astype(np.float64) * WIDTHS * self.stds[mode]
        )
        if not self.domain.integral:
            return self.domain.to_array(np.clip(values, self.low, self.high), is_missing)
        # Clipped as float first, so that the cast can't overflow, then exactly as integers.
        whole = np.rint(np.clip(values, float(self.low), float(self.high)))
        limited = np.clip(whole, -(2.0**63), np.nextafter(2.0**63, 0)).astype(np.int64)
        return self.domain.to_array(np.clip(limited, self.low, self.high), is_missing)

    def to_dict(self) -> dict[str, Any]:
        """The fitted codec as plain JSON values."""
        return {
            "codec": "modes", **self.domain.to_dict(), "means": self.means.tolist(), "stds": self.stds.tolist(),
            "weights": self.weights.tolist(), "low": self.low, "high": self.high, "missing": self.missing,
            "seed": self.seed,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "ModeCodec":
        """Rebuild what `to_dict` wrote."""
        means, stds, weights = (np.array(plain[key], np.float64) for key in ("means", "stds", "weights"))
        return cls(
            NumberDomain.from_dict(plain), means, stds, weights, plain["low"], plain["high"],
            bool(plain["missing"]), int(plain["seed"]),
        )  # fmt: skip


def fit_modes(values: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, standard deviations and weights of the modes that a variational mixture keeps, ascending by mean."""
    from sklearn.mixture import BayesianGaussianMixture

    if len(np.unique(values)) == 1:
        return values[:1].copy(), np.array([1.0]), np.array([1.0])
    generator = np.random.Generator(np.random.Philox(seed))
    rows = (
        values
        if len(values) <= ROWS_FOR_MIXTURE
        else generator.choice(values, ROWS_FOR_MIXTURE, replace=False)
    )
    centre, scale = rows.mean(), rows.std() or 1.0
    mixture = BayesianGaussianMixture(
        n_components=min(MOST_MODES, len(np.unique(rows))),
        weight_concentration_prior_type="dirichlet_process",
        weight_concentration_prior=0.001,
        max_iter=100,
        random_state=int(generator.integers(2**31)),
    )
    _fit_quietly(mixture, ((rows - centre) / scale).reshape(-1, 1))
    keep = np.flatnonzero(mixture.weights_ > LEAST_WEIGHT)
    order = keep[np.argsort(mixture.means_[keep, 0])]
    stds = np.sqrt(mixture.covariances_[order, 0, 0]) * scale
    weights = mixture.weights_[order]
    return mixture.means_[order, 0] * scale + centre, stds, weights / weights.sum()


def _fit_quietly(mixture: Any, column: np.ndarray) -> None:
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # A hundred iterations place the modes well enough for a codec; the last digits don't matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(column)
