"""TVAE: a table in, a table out. Wires codecs, networks, training and sampling; holds no mathematics."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from tvae_core.allocation import freed_memory_kept
from tvae_core.artifact import canonical_json, read_generator, write_generator
from tvae_core.batches import Batches
from tvae_core.checkpoints import CheckpointFile, CheckpointKeeper, Checkpoints
from tvae_core.conditions import check_balance, read_balance, read_conditions
from tvae_core.constraints.set import ConstraintSet, logged
from tvae_core.constraints.unique import keep_unique
from tvae_core.dp.fit import check_schema, fit_privately
from tvae_core.errors import ArtifactError, ConditionError, DataError, NotFittedError, SettingsError
from tvae_core.given import Given, GivenConditions, GivenFrame, known_cells
from tvae_core.holdback import entity_numbers, hold_back
from tvae_core.imputed import frames_of, stacked
from tvae_core.networks import Networks
from tvae_core.products import fast_products, product_dtype
from tvae_core.protection import regenerate_entity
from tvae_core.randomness import seed_sequence, torch_generator
from tvae_core.sampling import Request, Way, rebatch, sample_blocks, way_of
from tvae_core.schema import TableSchema, infer_schema
from tvae_core.settings import CHECKPOINT_MINUTES, ModelSettings, Preset, check_seed
from tvae_core.sources import TableSource, as_source
from tvae_core.table import EncodedTable, TableCodec
from tvae_core.token_file import encoded_table
from tvae_core.training import OnEpoch, OnStageRows, fit_prior, size_to_table, stage_rows, train
from tvae_core.version import __version__


class TVAE:
    """A tabular variational autoencoder.

    Parameters
    ----------
    preset: `default` or `reference`; see `ModelSettings`, whose fields are accepted as further keywords
        (`embedding_dim`, `compress_dims`, `decompress_dims`, `l2scale`, `batch_size`, `epochs`, `loss_factor`, ...).
    seed: fixes initialisation, training and, unless `sample` gets one of its own, sampling.
    device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, ...

    After `fit` or `load`: `schema_`, `settings_` (every setting with its value), `history_` (a record per epoch).
    `privacy_` is what the accountant says of a fit with `epsilon`, None of others.
    `suppressed_` counts, by column, what was too rare to be learned (see `Suppressed`).
    After sampling: `constraint_counts_` (how many of the last sample's rows each constraint repaired or redrew).

    >>> import pandas as pd
    >>> table = pd.DataFrame({"x": [1, 2, 3, 4] * 50, "y": ["a", "b", "a", "b"] * 50})
    >>> model = TVAE(epochs=2, seed=7).fit(table)
    >>> model.sample(3).dtypes.to_dict() == table.dtypes.to_dict()
    True
    """

    def __init__(
        self, preset: Preset = "default", *, seed: int = 0, device: str = "auto", **settings: Any
    ) -> None:
        self.settings = ModelSettings.from_dict({"preset": preset, **settings})
        self.seed = check_seed(seed)
        self.device = pick_device(device)

    @classmethod
    def from_settings(cls, settings: ModelSettings, *, seed: int = 0, device: str = "auto") -> Self:
        """A model with ready-made settings."""
        return cls(seed=seed, device=device, **settings.to_dict())

    def fit(
        self,
        data: Any,
        schema: TableSchema | None = None,
        *,
        on_epoch: OnEpoch | None = None,
        on_rows: OnStageRows | None = None,
        checkpoint: CheckpointKeeper | str | Path | None = None,
        checkpoint_minutes: float = CHECKPOINT_MINUTES,
    ) -> Self:
        """Learn a table and return self.

        `data` is a DataFrame, an Arrow table, a Parquet file or a directory of parts, or any `TableSource`.
        Without a `schema` the one that `infer_schema` proposes is used. `on_epoch` gets each epoch's record;
        `on_rows` a stage (`encode`, `epoch 1`, ...), rows done and all rows, many times.
        With a `checkpoint` (a file, or any `CheckpointKeeper`) the state of training is kept there, so that a fit that
        was killed goes on where it was when it is called again; at most `checkpoint_minutes` of work are lost.
        The same data, settings and seed give the same generator on the same kind of machine, unless `max_minutes`
        ends the training. Raises SchemaError, DataError, TrainingError.
        """
        source = as_source(data)
        self.schema_ = schema or infer_schema(source)
        rows = source.num_rows
        needed = max(2, self.schema_.minimum_rows)
        if rows < needed:
            raise DataError(f"the table has {rows} rows: expected at least {needed}")
        settings = self.settings.resolved()
        self.privacy_: dict[str, Any] | None = None
        if settings.epsilon is not None:
            return self._fit_privately(source, settings, on_epoch)
        holders = entity_numbers(source, self.schema_.entity) if self.schema_.entity else None
        constraints = ConstraintSet.fit(source, self.schema_)
        self.constraints_ = constraints.protected(source, settings.protect_k, holders)
        modelled = self.constraints_.reduced(self.schema_)
        if settings.protect_k > 1:
            modelled = regenerate_entity(modelled, self.schema_.entity)
        reduced = self.constraints_.reduce(source, modelled)
        self.codec_ = TableCodec.fit(
            reduced,
            modelled,
            settings,
            seed=self.seed,
            holders=holders,
            closed=self.constraints_.closed_ends(),
        )
        held_back = hold_back(source, self.schema_, settings.validation_fraction or 0.0, self.seed)
        self.settings_ = size_to_table(settings, int((~held_back).sum()), len(self.codec_.modelled))
        with encoded_table(self.codec_, reduced, stage_rows(on_rows, "encode")) as table:
            checkpoints = None
            if checkpoint is not None:
                keeper = CheckpointFile(checkpoint) if isinstance(checkpoint, str | Path) else checkpoint
                checkpoints = Checkpoints(keeper, checkpoint_minutes, self._fingerprint(table, held_back))
            self._train(table, held_back, on_epoch=on_epoch, on_rows=on_rows, checkpoints=checkpoints)
        return self

    def _fit_privately(self, source: TableSource, settings: ModelSettings, on_epoch: OnEpoch | None) -> Self:
        check_schema(self.schema_)
        self.constraints_ = ConstraintSet.fit(source, self.schema_)
        modelled = self.constraints_.reduced(self.schema_)
        reduced = self.constraints_.reduce(source, modelled)
        with fast_products(self.device, exact=True):  # what is clipped must not be rounded up
            fitted = fit_privately(
                reduced, modelled, settings, seed=self.seed, device=self.device, on_epoch=on_epoch
            )
        self.codec_, self.networks_, self.settings_ = fitted.codec, fitted.networks, fitted.settings
        self.history_, self.privacy_ = fitted.history, fitted.account
        return self

    @property
    def suppressed_(self) -> dict[str, Any]:
        """For each column of which something was withheld, how much: counts, never values."""
        self._check_fitted()
        return self.codec_.suppressed

    def _fingerprint(self, table: EncodedTable, held_back: np.ndarray) -> str:
        """Of everything that decides the weights, so that a checkpoint of anything else is not used."""
        made_of = {
            "settings": self.settings_.to_dict(), "seed": self.seed, "codecs": self.codec_.to_dict(),
            "rows": table.digest(), "held_back": hashlib.sha256(np.packbits(held_back).data).hexdigest(),
            "device": self.device.type, "code": __version__, "torch": torch.__version__,
            "products": str(product_dtype(self.device)) if self.settings_.preset == "reference" else None,
        }  # fmt: skip
        return hashlib.sha256(canonical_json(made_of)).hexdigest()

    def _train(self, table: EncodedTable, held_back: np.ndarray, **options: Any) -> None:
        layout = self.codec_.layout
        # torch's layers initialise themselves from the global generator: its state is put back.
        with torch.random.fork_rng(devices=[]):
            networks = Networks.fresh(self.settings_, layout, torch_generator(self.seed, "initialise"))
        self.networks_ = networks.to(self.device)
        train_rows, validation_rows = (
            Batches(table, layout, self.device, np.flatnonzero(side)) for side in (~held_back, held_back)
        )
        with freed_memory_kept():
            # On a GPU the products that matter for time are rounded by themselves: see `rounded_products`.
            exact = self.device.type == "cuda" and self.networks_.looks
            with fast_products(self.device, exact=exact):
                self.history_ = train(
                    self.networks_,
                    train_rows,
                    validation_rows or None,
                    self.settings_,
                    seed=self.seed,
                    **options,
                )
            with fast_products(self.device, exact=True):
                fit_prior(self.networks_, train_rows, seed=self.seed)

    def sample(self, n: int | None = None, **options: Any) -> pd.DataFrame:
        """Draw n rows as a DataFrame; see `sample_batches` for the options and what the rows depend on.

        >>> table = pd.DataFrame({"x": [1, 2, 3, 4] * 50, "y": ["a", "b", "a", "b"] * 50})
        >>> model = TVAE(epochs=2, seed=7).fit(table)
        >>> set(model.sample(20, given={"y": "b"}).y)
        {'b'}
        """
        return self.sample_table(n, **options).to_pandas()

    def sample_table(self, n: int | None = None, **options: Any) -> pa.Table:
        """Draw n rows as an Arrow table of the training table's schema; options as in `sample_batches`."""
        self._check_fitted()
        return pa.Table.from_batches(list(self.sample_batches(n, **options)), self.constraints_.schema)

    def sample_batches(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        given: Any = None,
        balance: str | Mapping[str, Mapping[Any, float] | None] | None = None,
        decoding_steps: int | None = None,
        present: bool = False,
        first: int = 0,
        batch_size: int = 65_536,
    ) -> Iterator[pa.RecordBatch]:
        """Draw n rows and hand them out in batches, never holding more than about one in memory.

        given: conditions that every row meets, `{"sex": "Female", "age": (30, 40), "race": ["Black", "Other"]}`: a
            value, a closed range (None leaves an end open), a list of values, or None for missing. Or a DataFrame or
            Arrow table of known cells, missing where unknown: one row of output for each of its rows, and no `n`.
        balance: a categorical column whose levels come in even shares, or `{column: {level: share}}`.
        present: draw no missing values, except in columns that hold nothing else.
        decoding_steps: in how many runs the columns of a row are drawn; 1 is the classic TVAE, None the full chain.
        first: the number of the first row: so that several processes draw one sample, each rows of its own.

        Row i depends on the generator, `seed` (the model's own when None), what is given, and i alone: the first 10 of
        1,000 rows are the 10 rows of a smaller sample, whatever the batch size; with a `unique` constraint, on the rows
        before it too. Raises ConditionError, SettingsError.
        """
        self._check_fitted()
        if present or any(option is not None for option in (given, balance, decoding_steps)):
            self._check_looks(decoding_steps)
        known = None if given is None and balance is None else self._given(given, balance, present=present)
        rows = known.rows - first if isinstance(known, GivenFrame) and n is None else n
        for name, value, least in (("n", rows, 0), ("first", first, 0), ("batch_size", batch_size, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SettingsError(f"{name} must be an integer of at least {least}, but it is {value!r}")
        if isinstance(known, GivenFrame) and first + (rows or 0) > known.rows:
            raise SettingsError(
                f"rows {first} to {first + (rows or 0)} are asked for, but {known.rows} rows are given: leave n out, a "
                "frame says how many"
            )
        if first and self.constraints_.unique:
            raise SettingsError(
                f"first is {first}, but a `unique` constraint ties rows to those before them: draw all in one process"
            )
        own_seed = self.seed if seed is None else check_seed(seed)
        request = Request(rows or 0, own_seed, known, decoding_steps, present, first)
        self.constraint_counts_: Counter[str] = Counter()
        way = way_of(self.networks_, self.codec_, request, self.device)
        batches = self._draw(request, way, self.constraint_counts_)
        if self.constraints_.unique:

            def redraw(first: int, rows: int, round_: int) -> pa.Table:
                state = seed_sequence(request.seed, "redraw", round_, first).generate_state(1, np.uint64)[0]
                again = replace(request, rows=rows, first=first, seed=int(state >> np.uint64(1)))
                return pa.Table.from_batches(self._draw(again, way, Counter()), self.constraints_.schema)

            batches = keep_unique(batches, self.constraints_.unique, redraw, self.constraint_counts_)
        return rebatch(logged(batches, self.constraint_counts_), batch_size, self.constraints_.schema)

    def _draw(self, request: Request, way: Way, counts: Counter[str]) -> Iterator[pa.RecordBatch]:
        drawn = sample_blocks(self.networks_, self.codec_, request, self.device, way)
        asked = request.given.asked if isinstance(request.given, GivenFrame) else None
        return self.constraints_.restore(drawn, counts, asked, request.first)

    def _check_looks(self, decoding_steps: int | None) -> None:
        if self.privacy_ is not None:
            raise ConditionError(
                "a generator with differential privacy learned to draw whole rows only: given, balance, present and "
                "decoding_steps need one without epsilon"
            )
        if not self.networks_.looks:
            raise ConditionError(
                "the reference preset's columns don't look at each other: given, balance, present and decoding_steps "
                "need the default preset"
            )
        if decoding_steps is not None and (type(decoding_steps) is not int or decoding_steps < 1):
            raise SettingsError(
                f"decoding_steps must be an integer of at least 1, but it is {decoding_steps!r}"
            )

    def _given(self, given: Any, balance: Any, *, present: bool) -> Given | None:
        if isinstance(given, GivenFrame):
            return given
        if given is not None and not isinstance(given, Mapping):
            if balance is not None:
                raise ConditionError("a frame of given cells leaves nothing to balance: use one of the two")
            asked = known_cells(given, self.constraints_.schema)
            return GivenFrame(self.codec_, self.constraints_.give(asked, self.codec_.schema), asked)
        wanted = self.constraints_.condition({str(name): asked for name, asked in (given or {}).items()})
        shares = {} if balance is None else self.constraints_.balance(check_balance(balance))
        twice = set(wanted) & set(shares)
        if twice:
            raise ConditionError(
                f"columns {', '.join(sorted(twice))} are both given and balanced: use one of the two"
            )
        conditions = read_balance(self.codec_, shares) + read_conditions(self.codec_, wanted)
        barred = self.codec_.barred_tokens(present=present)
        return GivenConditions(self.codec_, conditions, barred) if conditions else None

    def impute(
        self, data: pd.DataFrame | pa.Table, *, draws: int = 1, seed: int | None = None
    ) -> pd.DataFrame | pa.Table:
        """Fill a table's missing cells from the model's conditional given the row's other cells.

        Every missing cell is filled with a present value where the model has one to offer that keeps the constraints
        beside the known cells, drawn, not guessed; known cells come back as they were, bit for bit, also where they
        break a constraint, an Arrow table in the training types. Columns that `data` lacks are left out. With `draws`
        above 1 the table is filled that many times, one after another (multiple imputation, Rubin 1987): a DataFrame
        gets an outer index level `draw`, an Arrow table a first column `draw` (`draw_` where it has one of that name).
        Raises ConditionError, SettingsError.
        """
        self._check_fitted()
        if type(draws) is not int or draws < 1:
            raise SettingsError(f"draws must be an integer of at least 1, but it is {draws!r}")
        self._check_looks(None)
        cells = known_cells(data, self.constraints_.schema)
        known = GivenFrame(
            self.codec_, self.constraints_.give(cells, self.codec_.schema, lenient=True), cells
        )
        base = self.seed if seed is None else check_seed(seed)
        filled = []
        for draw in range(draws):
            state = seed_sequence(base, "impute", draw).generate_state(1, np.uint64)[0]
            out = self.sample_table(given=known, seed=int(state >> np.uint64(1)), present=True)
            filled.append(out.select(cells.column_names))
        return frames_of(filled, data) if isinstance(data, pd.DataFrame) else stacked(filled, data)

    def save(self, path: str | Path) -> str:
        """Write the generator into an absent or empty directory, all or nothing, and return its digest."""
        self._check_fitted()
        settings = {"settings": self.settings_.to_dict(), "seed": self.seed, "schema": self.schema_.to_dict()}
        return write_generator(
            Path(path),
            settings=settings if self.privacy_ is None else {**settings, "privacy": self.privacy_},
            codecs={**self.codec_.to_dict(), **self.constraints_.to_dict()},
            weights=self.networks_.state_dict(),
            history=self.history_,
        )

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto") -> Self:
        """Read a generator that `save` wrote. Raises ArtifactError, DigestError or FormatError."""
        plain, codecs, weights, history, _ = read_generator(Path(path))
        try:
            model = cls(seed=plain["seed"], device=device, **plain["settings"])
            model.settings_ = model.settings
            model.schema_ = TableSchema.from_dict(plain["schema"])
            model.privacy_ = plain.get("privacy")
            model.codec_ = TableCodec.from_dict(codecs)
            model.constraints_ = ConstraintSet.from_dict(codecs, model.codec_.schema)
            with torch.random.fork_rng(devices=[]):
                model.networks_ = Networks.restored(model.settings_, model.codec_.layout, weights)
        except (
            LookupError,
            TypeError,
            ValueError,
            ArithmeticError,
            AttributeError,
            RuntimeError,
            AssertionError,
        ) as error:
            if isinstance(error, ArtifactError):
                raise
            raise ArtifactError(
                f"{path} can't be rebuilt: its files don't fit together ({type(error).__name__})"
            ) from error
        model.history_ = history
        model.networks_.to(model.device)
        return model

    def set_device(self, device: str) -> Self:
        """Move the model to another device and return self."""
        self.device = pick_device(device)
        if hasattr(self, "networks_"):
            self.networks_.to(self.device)
        return self

    def _check_fitted(self) -> None:
        if not hasattr(self, "networks_"):
            raise NotFittedError("this model has learned nothing yet: call fit(...) or TVAE.load(...) first")


def pick_device(device: str) -> torch.device:
    """The torch device of that name; `auto` is a GPU where there is one. Raises SettingsError."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError:
        raise SettingsError(f"device must be auto, cpu, cuda or cuda:N, but it is {device!r}") from None
    if picked.type not in ("cpu", "cuda"):
        raise SettingsError(f"device must be auto, cpu, cuda or cuda:N, but it is {device!r}")
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            f"device is {device!r} but torch sees no GPU: use cpu or auto, or install torch for CUDA"
        )
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"device is {device!r} but torch sees {torch.cuda.device_count()} GPUs, numbered from 0"
        )
    return picked
