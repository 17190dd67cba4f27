"""Every setting of the generator, with its default, in one place.

A setting that is None takes its preset's value; one that the preset leaves None as well is chosen from the size of
the table when `fit` sees it.
"""

from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral
from typing import Any, ClassVar, Literal

from tvae_core.errors import SettingsError

Preset = Literal["default", "reference"]

# Most minutes of training that a kill may cost.
CHECKPOINT_MINUTES = 10.0
LARGEST_SEED = 2**63 - 1


def check_seed(seed: Any) -> int:
    """A seed, which may be numpy's, as Python's integer. Raises SettingsError for anything else."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) <= LARGEST_SEED:
        raise SettingsError(f"seed must be an integer between 0 and {LARGEST_SEED}, but it is {seed!r}")
    return int(seed)


@dataclass(frozen=True)
class ModelSettings:
    """Sizes of the model and how it is trained.

    preset: `default` (tokens for every column, sampled by drawing) or `reference` (Xu et al. 2019, as published).
    embedding_dim: size of the latent vector z.
    compress_dims, decompress_dims: hidden layers of encoder and decoder. In the default preset `decompress_dims` is
        the width of the decoder's running state and the units of each column's own layers.
    l2scale: weight decay of Adam; in the default preset decoupled from the gradient, twice as much for embeddings, and
        chosen from the number of rows where it is None.
    batch_size: training rows in a step.
    epochs: most passes over the training rows; None chooses from the number of rows.
    max_minutes: most minutes that training may take, beside the epochs; the learning rate's decay is fitted to it. How
        far it gets depends on the machine, so a generator that was cut by time is not reproducible.
    loss_factor: weight of the reconstruction against the Kullback-Leibler term.
    free_bits: nats of the Kullback-Leibler term that cost nothing, so that the latent is used.
    learning_rate: of Adam.
    dropout: share of hidden units dropped in a training step; None chooses from the number of rows.
    validation_fraction: share of the rows (of the entities, where the schema names one) held back to stop early.
    patience: epochs without a better validation loss before training stops; 0 trains all epochs; None chooses
        from the number of rows.
    bins: tokens that a continuous column's values are cut into, each of up to 16 finer cells.
    max_categories: most levels a categorical column may have.
    protect_k: what fewer than this many rows (entities, where the schema names one) hold is never learned: rare
        categories, extreme values, rare repeated values; 0 and 1 switch the protection off.
    tails: whether numbers beyond what protect_k keeps are drawn, from their mean distance alone; False ends a column at
        the last value that is kept. Default preset only.
    epsilon: differential privacy of every row within this epsilon; None trains without it. Default preset only.
    delta: its delta; None takes 1e-5, or rows ** -1.1 where that is less.
    max_grad_norm: what a row's gradient is clipped to under differential privacy.
    """

    preset: Preset = "default"
    embedding_dim: int | None = None
    compress_dims: tuple[int, ...] | None = None
    decompress_dims: tuple[int, ...] | None = None
    l2scale: float | None = None
    batch_size: int | None = None
    epochs: int | None = None
    max_minutes: float | None = None
    loss_factor: float | None = None
    free_bits: float | None = None
    learning_rate: float | None = None
    dropout: float | None = None
    validation_fraction: float | None = None
    patience: int | None = None
    bins: int | None = None
    max_categories: int = 20_000
    protect_k: int = 10
    tails: bool = True
    epsilon: float | None = None
    delta: float | None = None
    max_grad_norm: float | None = None

    # Read by pydantic where a configuration nests this class; means nothing here.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for name, low, high in _BOUNDS:
            _check_number(name, getattr(self, name), low, high)
        for name in ("compress_dims", "decompress_dims"):
            dims = getattr(self, name)
            if dims is not None:
                object.__setattr__(self, name, _check_dims(name, dims))
        if not isinstance(self.tails, bool):
            raise SettingsError(f"tails must be true or false, but it is a {type(self.tails).__name__}")
        if self.preset not in PRESETS:
            raise SettingsError(f"preset must be one of {', '.join(PRESETS)}, but it is {self.preset!r}")

    def resolved(self) -> "ModelSettings":
        """The settings with the preset's values in place of None; a private fit has some of its own."""
        preset = PRESETS[self.preset] if self.epsilon is None else {**PRESETS[self.preset], **PRIVATE}
        return replace(self, **{k: v for k, v in preset.items() if getattr(self, k) is None})

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "ModelSettings":
        """Read what `to_dict` wrote. Raises SettingsError for an unknown or wrong setting."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(plain) - known)
        if unknown:
            raise SettingsError(
                f"unknown settings {', '.join(unknown)}: expected some of {', '.join(sorted(known))}"
            )
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
        return cls(**values)


_BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("embedding_dim", 1, 4096),
    ("l2scale", 0.0, 10.0),
    ("batch_size", 1, 10_000_000),
    ("epochs", 1, 1_000_000),
    ("max_minutes", 0.001, 100_000),
    ("loss_factor", 1e-6, 1e6),
    ("free_bits", 0.0, 1e6),
    ("learning_rate", 1e-8, 1.0),
    ("dropout", 0.0, 0.9),
    ("validation_fraction", 0.0, 0.5),
    ("patience", 0, 1_000_000),
    ("bins", 2, 10_000),
    ("max_categories", 1, 10_000_000),
    ("protect_k", 0, 1_000_000),
    ("epsilon", 0.01, 100.0),
    ("delta", 1e-18, 0.1),
    ("max_grad_norm", 1e-6, 1e6),
)

_WHOLE = {"embedding_dim", "batch_size", "epochs", "patience", "bins", "max_categories", "protect_k"}

PRESETS: dict[str, dict[str, Any]] = {
    # Xu et al. 2019 (arXiv:1907.00503): section 4.4 for the architecture and loss, section 5 for the training.
    "reference": {
        "embedding_dim": 128, "compress_dims": (128, 128), "decompress_dims": (128, 128), "l2scale": 1e-5,
        "batch_size": 500, "epochs": 300, "loss_factor": 2.0, "free_bits": 0.0, "learning_rate": 1e-3,
        "dropout": 0.0, "validation_fraction": 0.0, "patience": 0, "bins": 64,
    },
    "default": {
        "embedding_dim": 16, "compress_dims": (192, 192), "decompress_dims": (192, 32), "loss_factor": 1.0,
        "free_bits": 3.0, "learning_rate": 5e-3, "validation_fraction": 0.1, "bins": 64,
    },
}  # fmt: skip


# Noise is added to every weight, so a private fit has fewer, and little for a latent that noise leaves unused; noise
# also does what dropout and decay are for.
PRIVATE: dict[str, Any] = {
    "embedding_dim": 2, "compress_dims": (16,), "decompress_dims": (64, 16), "l2scale": 0.0, "free_bits": 0.0,
    "learning_rate": 1e-2, "dropout": 0.0, "validation_fraction": 0.0, "patience": 0, "max_grad_norm": 2.0,
}  # fmt: skip


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    if value is None:
        return
    kind = "an integer" if name in _WHOLE else "a number"
    right = isinstance(value, int if name in _WHOLE else int | float) and not isinstance(value, bool)
    if not right:
        raise SettingsError(f"{name} must be {kind}, but it is a {type(value).__name__}")
    if not low <= value <= high:
        raise SettingsError(f"{name} must lie between {low:g} and {high:g}, but it is {value!r}")


def _check_dims(name: str, dims: Any) -> tuple[int, ...]:
    good = (
        isinstance(dims, tuple | list)
        and len(dims) > 0
        and all(type(d) is int and 1 <= d <= 65_536 for d in dims)
    )
    if not good:
        raise SettingsError(f"{name} must be a list of at least one layer size, each between 1 and 65536")
    return tuple(dims)
