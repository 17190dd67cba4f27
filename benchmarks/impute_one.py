"""Fill a table's gaps by one method; prints one line of JSON. A worker of imputation.py.

    python impute_one.py FOLDER --method ours --draws 50 --categorical sex,race

Reads known.parquet and gaps.parquet in FOLDER, and writes there METHOD-draws.parquet (all fillings under one another)
and METHOD-point.parquet (one best filling), each where the method has it.

ours: the default preset, fitted to known.parquet; `impute` with several draws. unprotected: with `protect_k` 0, so that
the largest values are not clipped.
ridge, trees: IterativeImputer on both tables, categories ordinal-encoded, every column of variance 1, with its default
estimator (BayesianRidge) or gradient-boosted trees.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from fit_one import declared
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.linear_model import BayesianRidge

from tvae_core import TVAE

ROUNDS = 10
OURS, PEERS = ("ours", "unprotected"), ("ridge", "trees")


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("folder", type=Path)
    options.add_argument("--method", choices=(*OURS, *PEERS), required=True)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--draws", type=int, default=50)
    options.add_argument("--epochs", type=int)
    options.add_argument("--categorical", required=True, help="by commas")
    args = options.parse_args()
    known, gaps = (pd.read_parquet(args.folder / f"{name}.parquet") for name in ("known", "gaps"))
    categorical = args.categorical.split(",")
    began = time.perf_counter()
    fill = ours if args.method in OURS else peer
    filled = fill(args, known, gaps, categorical)
    seconds = time.perf_counter() - began
    for kind, table in filled.items():
        table.to_parquet(args.folder / f"{args.method}-{kind}.parquet")
    print(json.dumps({"seconds": seconds}))


def ours(args, known: pd.DataFrame, gaps: pd.DataFrame, categorical: list[str]) -> dict[str, pd.DataFrame]:
    settings = {} if args.epochs is None else {"epochs": args.epochs}
    if args.method == "unprotected":
        settings["protect_k"] = 0
    model = TVAE(seed=args.seed, device="cpu", **settings).fit(known, declared(known, categorical))
    return {"draws": model.impute(gaps, draws=args.draws).reset_index(drop=True)}


def peer(args, known: pd.DataFrame, gaps: pd.DataFrame, categorical: list[str]) -> dict[str, pd.DataFrame]:
    numbers = Numbers(known, categorical)
    both = numbers.encode(pd.concat([known, gaps]))
    few = both[-len(gaps) :]
    ends = {"min_value": np.nanmin(both, axis=0), "max_value": np.nanmax(both, axis=0)}
    options = {"max_iter": ROUNDS, "random_state": args.seed, **ends}
    estimator = (
        BayesianRidge() if args.method == "ridge" else HistGradientBoostingRegressor(random_state=args.seed)
    )
    filled = {
        "point": numbers.decode(IterativeImputer(estimator, **options).fit_transform(both)[-len(gaps) :])
    }
    if args.method == "ridge":
        sampler = IterativeImputer(estimator, sample_posterior=True, **options).fit(both)
        draws = [numbers.decode(sampler.transform(few)) for _ in range(args.draws)]
        filled["draws"] = pd.concat(draws, ignore_index=True)
    return filled


class Numbers:
    """Categories as their place among the sorted levels, and every column of mean 0 and variance 1."""

    def __init__(self, known: pd.DataFrame, categorical: list[str]) -> None:
        self.columns = list(known)
        self.levels = {name: np.sort(known[name].unique()) for name in categorical}
        placed = self._placed(known)
        self.mean, self.std = placed.mean(0), placed.std(0)

    def _placed(self, table: pd.DataFrame) -> np.ndarray:
        return np.stack([self._places(name, table[name]) for name in self.columns], axis=1)

    def _places(self, name: str, values: pd.Series) -> np.ndarray:
        """A column's numbers; missing cells and levels that no known row has are NaN."""
        if name not in self.levels:
            return values.to_numpy(float)
        codes = pd.Categorical(values, self.levels[name]).codes
        return np.where(codes < 0, np.nan, codes)

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        return (self._placed(table) - self.mean) / self.std

    def decode(self, matrix: np.ndarray) -> pd.DataFrame:
        plain = matrix * self.std + self.mean
        return pd.DataFrame(
            {name: self._column(name, plain[:, place]) for place, name in enumerate(self.columns)}
        )

    def _column(self, name: str, values: np.ndarray) -> np.ndarray:
        if name not in self.levels:
            return values
        levels = self.levels[name]
        return levels[np.clip(np.rint(values), 0, len(levels) - 1).astype(int)]


if __name__ == "__main__":
    main()
