"""A private fit from a table to networks: the budget split, codecs and margins from noisy counts, then DP-SGD.

The promise is for rows: tables that differ by one row give nearly the same generators. What is taken as public, and so
not covered: the schema (names, types, kinds, nullability, declared categories and ranges), the number of rows, and the
settings.
"""

import math
import secrets
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from tvae_core.dp.accountant import epsilon_of, gaussian_rdp, noise_for, subsampled_gaussian_rdp
from tvae_core.dp.counts import NoisyCounts
from tvae_core.dp.histograms import histograms_of, private_codec
from tvae_core.dp.training import OnEpoch, Plan, train_privately
from tvae_core.errors import SchemaError, SettingsError
from tvae_core.likelihood import Noise
from tvae_core.model import Rows
from tvae_core.networks import Networks
from tvae_core.randomness import torch_generator
from tvae_core.schema import ColumnKind, TableSchema
from tvae_core.settings import ModelSettings
from tvae_core.sources import TableSource
from tvae_core.table import TableCodec

# Share of the budget (as zero-concentrated differential privacy) for the histograms; share of delta for names found.
HISTOGRAM_SHARE, NAMES_SHARE = 0.3, 0.1
# A row is in a step's sample with this probability, so an epoch has 1 / RATE steps.
RATE, EPOCHS = 1 / 8, 80
CALIBRATION_ROWS = 20_000
LARGEST_DELTA = 1e-5
PUBLIC = [
    "column names, types, kinds and nullability",
    "declared categories and ranges",
    "number of rows",
    "settings",
]


@dataclass(frozen=True)
class PrivateFit:
    """A fitted codec and networks, the settings in full, the history, and what the accountant has to say."""

    codec: TableCodec
    networks: Networks
    settings: ModelSettings
    history: list[dict[str, Any]]
    account: dict[str, Any]


def check_schema(schema: TableSchema) -> None:
    """Raise SchemaError for what a private fit can't promise anything about."""
    if schema.entity is not None:
        raise SchemaError(
            f"differential privacy is promised for rows, but the schema names an entity ({schema.entity!r}) that has "
            "several: make a table of one row an entity and take `entity` out"
        )
    kept = [c.label for c in schema.constraints if c.kind in ("fixed_combinations", "inequality")]
    if kept:
        raise SchemaError(
            f"constraints that store values of the table have no private form: take out {'; '.join(kept)}"
        )


def fit_privately(
    source: TableSource,
    schema: TableSchema,
    settings: ModelSettings,
    *,
    seed: int,
    device: torch.device,
    on_epoch: OnEpoch | None = None,
) -> PrivateFit:
    """Learn a table within (`settings.epsilon`, `settings.delta`); `settings` resolved, their preset the default one.

    Weights start from `seed`; samples and noise are drawn from the operating system's entropy, for who could repeat the
    noise could take it off again: so two fits of one seed differ. Raises SettingsError, DataError.
    """
    rows = source.num_rows
    settings = sized(settings, rows)
    assert (
        settings.epsilon
        and settings.delta
        and settings.batch_size
        and settings.epochs
        and settings.max_grad_norm
    )
    secret = np.random.default_rng(secrets.randbits(128))
    counts, spent, parts = plan_histograms(schema, settings, secret)
    fitted = [private_codec(source, column, counts) for column in schema.columns]
    codec = TableCodec(source.schema.remove_metadata(), [c for c, _ in fitted])
    rate = min(1.0, settings.batch_size / rows)
    steps = math.ceil(settings.epochs / rate)
    left = settings.delta - parts[0]["delta"]
    noise = noise_for(settings.epsilon, left, rate=rate, steps=steps, spent=[spent])
    plan = Plan(rate, steps, noise, settings.max_grad_norm)
    with torch.random.fork_rng(devices=[]):
        networks = Networks.fresh(settings, codec.layout, torch_generator(seed, "initialise")).to(device)
    networks.decoder.start_at_margins(
        torch.from_numpy(np.concatenate([s for _, s in fitted])).float().to(device)
    )
    codes = torch.from_numpy(codec.encode(source).codes).to(device)
    offsets = torch.from_numpy(codec.layout.code_offsets).to(device)
    everything = Rows(codes.long() + offsets, torch.zeros(rows, 0, device=device))
    history = train_privately(networks, everything, settings, plan, secret, on_epoch=on_epoch)
    calibrate(networks, seed)
    trained = subsampled_gaussian_rdp(rate, noise, steps)
    parts.append(
        {
            "what": "DP-SGD: the networks' weights", "epsilon_alone": epsilon_of(trained, left),
            "noise_multiplier": noise, "sample_rate": rate, "steps": steps, "max_grad_norm": plan.max_grad_norm,
        }
    )  # fmt: skip
    account = {
        "epsilon": epsilon_of(spent + trained, left), "delta": settings.delta, "unit": "row",
        "neighbours": "one row added or removed", "accountant": "Renyi, Poisson-subsampled Gaussian", "parts": parts,
        "public": PUBLIC,
    }  # fmt: skip
    return PrivateFit(codec, networks, settings, history, account)


def sized(settings: ModelSettings, rows: int) -> ModelSettings:
    """The settings with what follows from the number of rows: delta, batch size, epochs.

    delta: 1e-5, or less where a table of more rows asks for it (rows ** -1.1). Raises SettingsError for what leaves no
    privacy or has no private form.
    """
    delta = settings.delta or min(LARGEST_DELTA, max(2, rows) ** -1.1)
    if delta >= 1 / rows:
        raise SettingsError(
            f"delta = {delta:g} lets a whole row through: expected less than 1 / rows = {1 / rows:g}"
        )
    if settings.preset != "default":
        raise SettingsError(
            "differential privacy needs the default preset: the reference preset is kept as published"
        )
    batch_size = settings.batch_size or max(1, round(rows * RATE))
    return replace(settings, delta=delta, batch_size=batch_size, epochs=settings.epochs or EPOCHS, patience=0)


def plan_histograms(
    schema: TableSchema, settings: ModelSettings, generator: np.random.Generator
) -> tuple[NoisyCounts, np.ndarray, list[dict[str, Any]]]:
    """The histograms' noise, what they cost as Renyi divergences, and the same in words."""
    assert settings.epsilon and settings.delta
    number = histograms_of(schema)
    # epsilon = rho + 2 sqrt(rho log(1 / delta)) (Bun and Steinke 2016, arXiv:1605.02065, proposition 1.3), for rho.
    size = math.log(1 / settings.delta)
    rho = HISTOGRAM_SHARE * (math.sqrt(size + settings.epsilon) - math.sqrt(size)) ** 2
    noise = math.sqrt(number / (2 * rho))
    named = sum(c.kind is ColumnKind.CATEGORICAL and c.categories is None for c in schema.columns)
    delta = NAMES_SHARE * settings.delta
    spent = gaussian_rdp(noise, math.sqrt(number))
    words = {
        "what": "noisy counts: categories, ranges, bins and margins", "histograms": number, "noise": noise,
        "epsilon_alone": epsilon_of(spent, settings.delta - delta), "delta": delta if named else 0.0,
    }  # fmt: skip
    return NoisyCounts(noise, generator, delta / max(1, named)), spent, [words]


def calibrate(networks: Networks, seed: int) -> None:
    """Tilt the biases until rows drawn from the prior have the noisy margins; no row of the table is seen."""
    device = networks.prior.means.device
    generator = torch_generator(seed, "prior", device=device)
    uniforms = torch.rand(CALIBRATION_ROWS, generator=generator, device=device)
    normals = torch.randn(CALIBRATION_ROWS, networks.prior.means.shape[1], generator=generator, device=device)
    noise = Noise.draw(CALIBRATION_ROWS, networks.decoder.layout, torch_generator(seed, "calibrate"), device)
    networks.decoder.calibrate(networks.prior.draw(uniforms, normals), noise)
