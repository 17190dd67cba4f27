"""Plot results/*.json into docs/img: fidelity against fitting time, and time against size."""

import argparse
from pathlib import Path
from statistics import median

import figures
import matplotlib as mpl
from common import RESULTS, ROOT

mpl.use("Agg")
from matplotlib import pyplot as plt  # the backend is chosen first

PANELS = {"shape": (0.86, 1.0), "trend": (0.82, 1.0), "c2st": (1.0, 0.47), "tstr": (0.875, 0.935)}
BEST = {
    "shape": "higher is better",
    "trend": "higher is better",
    "tstr": "higher is better",
    "c2st": ".5 is ideal",
}
# Okabe and Ito's colours, told apart by most eyes.
STYLE = {
    "ours, default": ("#0072B2", "*", 190),
    "ours, reference": ("#56B4E9", "P", 80),
    "TabularARGN": ("#D55E00", "o", 55),
    "TabSyn": ("#009E73", "s", 55),
    "TabMT": ("#CC79A7", "^", 60),
    "STaSy": ("#E69F00", "v", 60),
    "TVAE (CTGAN)": ("#000000", "X", 60),
}
PUBLISHED = {"TabSyn": "tabsyn_1", "TabMT": "tabmt_0", "STaSy": "stasy_1"}
UNKNOWN = 3_000.0  # where tables stand whose fitting time isn't known on this kind of machine, in seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--results", type=Path, default=RESULTS)
    args = options.parse_args()
    results = figures.load(args.results)
    folder = ROOT / "docs" / "img"
    folder.mkdir(parents=True, exist_ok=True)
    if {"adult", "published"} <= set(results):
        save(plot_adult(results), folder / "bench-adult.png")
    if "wide_tall" in results:
        save(plot_scale(results), folder / "bench-scale.png")


def save(figure, path: Path) -> None:
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)
    print(f"written: {path.relative_to(ROOT)}")


def points(results) -> dict[str, tuple[float, dict[str, float]]]:
    """Each generator's fitting time in seconds, on the kind of machine that `adult` ran on, and scores."""
    out = {}
    for preset, f in results["adult"]["figures"].items():
        over = {key: figure["mean"] for key, figure in f["over_seeds"].items()}
        out[f"ours, {preset}"] = (over["fit_seconds"], over)
    peers = {"default": ("tabularargn", "TabularARGN"), "reference": ("reference_speed", "TVAE (CTGAN)")}
    for preset, (name, label) in peers.items():
        if name in results:
            f = results[name]["figures"]
            if not figures.beside_adult(results, name):
                out[label] = (UNKNOWN, f["scores"]["peer"])
                continue
            seconds = {side: median(run["fit_seconds"] for run in runs) for side, runs in f["runs"].items()}
            out[label] = (seconds["peer"], f["scores"]["peer"])
            if f"ours, {preset}" in out:  # our time from the same run as the peer's
                out[f"ours, {preset}"] = (seconds["ours"], out[f"ours, {preset}"][1])
    published = results["published"]["figures"]
    others = {"TabularARGN": "tabularargn_2", "TVAE (CTGAN)": "ctgan_tvae", **PUBLISHED}
    for label, key in others.items():
        if label not in out and key in published:
            out[label] = (UNKNOWN, published[key])
    return out


def plot_adult(results):
    """Four scores against the time that `fit` took; a real holdout as a line."""
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.6), layout="constrained")
    holdout = results["published"]["figures"].get("test")
    for axis, (score, limits) in zip(axes.flat, PANELS.items(), strict=True):
        if holdout:
            axis.axhline(holdout[score], color="#888888", linewidth=1, linestyle=":", label="a real holdout")
        for label, (seconds, scores) in points(results).items():
            colour, marker, size = STYLE[label]
            axis.scatter(seconds, scores[score], c=colour, marker=marker, s=size, label=label, zorder=3)
        axis.axvspan(UNKNOWN / 1.6, UNKNOWN * 1.6, color="#f2f2f2", zorder=0)
        axis.set(xscale="log", xlim=(20, UNKNOWN * 1.6), ylim=limits)
        axis.set_xticks(
            [30, 100, 300, 1_000, UNKNOWN], ["30 s", "100 s", "300 s", "1,000 s", "not timed\nhere"]
        )
        axis.minorticks_off()
        axis.set_title(f"{score} ({BEST[score]})", fontsize=10, loc="left")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(
        "Adult: fidelity and utility against the time to fit (up and left is better)", fontsize=11
    )
    return figure


def plot_scale(results):
    """Seconds of each stage against rows and against columns, both axes logarithmic."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
    for axis, (direction, key) in zip(axes, (("tall", "rows"), ("wide", "columns")), strict=True):
        runs = results["wide_tall"]["figures"][direction]
        sizes = [run[key] for run in runs["each"]]
        for stage, colour in zip(figures.STAGES, ("#0072B2", "#D55E00", "#009E73"), strict=True):
            slope = runs["slopes"].get(stage)
            label = figures.STAGES[stage] + (f" (slope {slope:.2f})" if slope else "")
            axis.plot(
                sizes, [r[stage]["processor_seconds"] for r in runs["each"]], "o-", color=colour, label=label
            )
        axis.set(
            xscale="log", yscale="log", xlabel=key, ylabel="processor seconds" if direction == "tall" else ""
        )
        axis.minorticks_off()
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        other = "columns" if key == "rows" else "rows"
        axis.set_title(f"{runs['each'][0][other]:,} {other}", fontsize=10, loc="left")
        axis.grid(alpha=0.25)
        axis.legend(frameon=False, fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
