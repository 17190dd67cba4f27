"""Rows under conditions: how long 10,000 of them take beside free rows, and how near they come to the real rows.

Adult's published split. `distance`: the mean over the other columns of half the sum of absolute differences of shares
(total variation; numbers in eight bins of equally many rows) between the rows drawn and all real rows that meet the
condition; `halves`: the same between the real rows that meet it in the training table and in the test table, each
about half of them; `thrown_away`: of free rows that happen to meet it. `cost` is the median of the paired ratios of
seconds.
"""

import statistics
import tempfile
import time
from pathlib import Path

import common

BINS = 8
CONDITIONS = {
    "sex: Female": {"sex": "Female"},
    "race: Black": {"race": "Black"},
    "hours: 50..60": {"hours_per_week": (50, 60)},
    "age: 60..90": {"age": (60, 90)},
    "marital_status: Separated (3 %)": {"marital_status": "Separated"},
    "education: Doctorate (1 %)": {"education": "Doctorate"},
    "income: >50K": {"income": ">50K"},
    "native_country: Mexico (2 %)": {"native_country": "Mexico"},
}


def main() -> None:
    options = common.parser(__doc__)
    options.add_argument("--rows", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args()
    where = common.machine()
    paths = [common.shared_file(args, "data", "adult_split", f"{part}.parquet") for part in ("train", "test")]

    import pandas as pd
    import torch

    from tvae_core import TVAE

    torch.set_num_threads(args.threads)
    train, test = (pd.read_parquet(path) for path in paths)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.scratch or scratch) / "generator"
        TVAE(seed=args.seed, device="cpu").fit(train).save(folder)
        model = TVAE.load(folder, device="cpu")
    free = model.sample(20 * args.rows, seed=args.seed)
    figures = {
        name: measure(args, model, condition, train, test, free) for name, condition in CONDITIONS.items()
    }
    rows = [[name, *(f"{f[key]:.3f}" for key in f if key != "costs")] for name, f in figures.items()]
    print(common.table(["condition", "distance", "halves", "thrown away", "cost"], rows))
    common.write_result(args, where, figures)


def measure(args, model, condition, train, test, free) -> dict:
    """One condition's figures."""
    import pandas as pd

    drawn = model.sample(2 * args.rows, given=condition, seed=args.seed + 1)
    halves = [meeting(table, condition) for table in (train, test)]
    real, kept = pd.concat(halves), meeting(free, condition)
    columns = [name for name in train if name not in condition]
    costs = []
    for number in range(args.rounds):
        plain = seconds(lambda n=number: model.sample(args.rows, seed=n))
        costs.append(seconds(lambda n=number: model.sample(args.rows, seed=n, given=condition)) / plain)
    return {
        "distance": distance(drawn, real, columns),
        "halves": distance(*halves, columns),
        "thrown_away": distance(kept, real, columns),
        "cost": statistics.median(costs),
        "costs": costs,
    }


def meeting(table, condition):
    """The rows that meet the condition."""
    for name, wanted in condition.items():
        column = table[name]
        table = table[column.between(*wanted) if isinstance(wanted, tuple) else column == wanted]
    return table


def distance(one, other, columns) -> float:
    """Mean total variation of the columns."""
    return statistics.fmean(total_variation(one[name], other[name]) for name in columns)


def total_variation(one, other) -> float:
    import numpy as np
    import pandas as pd

    if pd.api.types.is_numeric_dtype(other):
        inner = np.unique(np.quantile(other, np.linspace(0, 1, BINS + 1)[1:-1]))
        one, other = (pd.Series(np.searchsorted(inner, part)) for part in (one, other))
    shares = [part.value_counts(normalize=True) for part in (one, other)]
    return float(shares[0].sub(shares[1], fill_value=0).abs().sum() / 2)


def seconds(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
