"""The benchmarks' results as tables of text: read from results/*.json, nothing else."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from common import RESULTS, SCORES, table

Result = dict[str, Any]
OURS = {"default": "**ours, `default`**", "reference": "ours, `reference`"}
RUN_HERE = {"tabularargn": "default", "reference_speed": "reference"}
STAGES = {"codecs": "codecs", "fit": "fit, one epoch", "sample": "sampling"}


def load(folder: Path = RESULTS) -> dict[str, Result]:
    """Every result that there is, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def number(value: float, digits: int = 3) -> str:
    """.995 as tables of scores print it; 1.000 where it is that."""
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text


def brief(seconds: float) -> str:
    """Two digits behind the point for small times, none for large ones."""
    return f"{seconds:,.2f}" if seconds < 10 else f"{seconds:,.0f}"


def mean_and_range(figure: Mapping[str, float], digits: int = 3) -> str:
    ends = [number(figure[key], digits) for key in ("min", "max")]
    if ends[0] == ends[1]:
        return ends[0]
    return f"{number(figure['mean'], digits)} ({' to '.join(ends)})"


def adult(results: Mapping[str, Result], *, ranges: bool = False) -> str:
    """Every generator on Adult: ours over the seeds, peers run here, peers as published.

    A peer's times stand beside ours only where one kind of machine took both.
    """
    show = mean_and_range if ranges else lambda figure: number(figure["mean"])
    head = ["generator", *SCORES, "fit, s", "rows/s"]
    published = results.get("published", {}).get("figures", {})
    rows = [
        [f["label"], *(number(f[s]) for s in SCORES), "", ""] for k, f in published.items() if k == "test"
    ]
    for preset, figures in results.get("adult", {}).get("figures", {}).items():
        over = figures["over_seeds"]
        rows.append([OURS[preset], *(show(over[s]) for s in SCORES), seconds(over), speed(over)])
    for name in RUN_HERE:
        if name in results:
            rows.append(run_here(results[name]["figures"], times=beside_adult(results, name)))
    for key, f in published.items():
        if key != "test":
            origin = "an earlier run" if key == "ctgan_tvae" else "published output"
            rows.append([f"{f['label']}, {origin}", *(number(f[s]) for s in SCORES), "", ""])
    return table(head, rows)


def seconds(over: Mapping[str, Mapping[str, float]]) -> str:
    return f"{over['fit_seconds']['mean']:.0f}"


def speed(over: Mapping[str, Mapping[str, float]]) -> str:
    return f"{over['rows_per_second']['mean']:,.0f}"


def run_here(figures: Mapping[str, Any], *, times: bool) -> list[str]:
    """A peer that ran side by side with ours."""
    runs = figures["runs"]["peer"]
    fit, rate = (median(run[key] for run in runs) for key in ("fit_seconds", "rows_per_second"))
    scores = (number(figures["scores"]["peer"][s]) for s in SCORES)
    return [f"{figures['peer']}, run here", *scores, *([f"{fit:.0f}", f"{rate:,.0f}"] if times else ["", ""])]


def default_table(results: Mapping[str, Result], *, ranges: bool = False) -> str:
    """Default of Credit Card Clients."""
    over = results["default_table"]["figures"]["over_seeds"]
    show = mean_and_range if ranges else lambda figure: number(figure["mean"])
    row = [*(show(over[s]) for s in (*SCORES, "trtr")), seconds(over), speed(over)]
    return table(["generator", *SCORES, "real rows' tstr", "fit, s", "rows/s"], [[OURS["default"], *row]])


def privacy(results: Mapping[str, Result], *, ranges: bool = False) -> str:
    """Adult, clean halves."""
    over, halves = (results["clean_split"]["figures"][key] for key in ("over_seeds", "real_halves"))
    show = mean_and_range if ranges else lambda figure: number(figure["mean"])
    names = {
        "dcr_share": "nearer to a training row than to a holdout row, of 2,000 rows (ideal: one half)",
        "dcr_share_of_20000": "the same, of 20,000 rows",
        "exact_copies": "synthetic rows equal to a training row",
        "exact_copies_of_holdout": "synthetic rows equal to a holdout row",
        "exact_copies_holdout": "holdout rows equal to a training row",
        "c2st": "c2st against the training rows",
        "unseen_c2st": f"c2st against the holdout (the real halves: {number(halves['c2st'])})",
        "trend": "trend against the training rows",
        "unseen_trend": f"trend against the holdout (the real halves: {number(halves['trend'])})",
    }
    rows = [
        [label, f"{over[n]['mean']:.3%}" if n.startswith("exact") else show(over[n])]
        for n, label in names.items()
        if n in over
    ]
    return table(["share or score", OURS["default"]], rows)


def imputation(results: Mapping[str, Result], *, ranges: bool = False) -> str:
    """Cells removed at random and filled, on two tables."""
    tables = {"adult": "Adult", "default": "Default"}
    labels = {
        "ours": OURS["default"],
        "unprotected": "ours, `protect_k: 0` like the others",
        "ridge": "IterativeImputer",
        "trees": "IterativeImputer with boosted trees",
        "column": "the column alone: mode, mean, shares",
    }
    scores = {"accuracy": "accuracy", "rmse": "RMSE, std", "nats": "nats a cell"}
    show = mean_and_range if ranges else lambda figure: number(figure["mean"])
    rows = []
    measured = results["imputation"]["figures"]
    for method, label in labels.items():
        each = [measured[name].get(method, {"over_seeds": {}})["over_seeds"] for name in tables]
        if any(each):
            rows.append([label, *(show(over[s]) if s in over else "" for over in each for s in scores)])
    head = [f"{name}: {score}" for name in tables.values() for score in scores.values()]
    return table(["filled by", *head], rows)


def private(results: Mapping[str, Result], *, ranges: bool = False) -> str:
    """Adult under differential privacy: the default preset at each epsilon, and what it costs against none."""
    show = mean_and_range if ranges else lambda figure: number(figure["mean"])
    rows = []
    found = results["dp"]["figures"]
    for epsilon in ["TabularARGN", *sorted((key for key in found if key != "TabularARGN"), key=float)]:
        over, peer = found[epsilon]["over_seeds"], epsilon == "TabularARGN"
        label = (
            "TabularARGN, its private published output" if peer else f"{OURS['default']}, epsilon {epsilon}"
        )
        figure = (lambda f: number(f["mean"])) if peer else show
        rows.append([label, *(figure(over[s]) for s in SCORES), "" if peer else seconds(over)])
    return table(["generator", *SCORES, "fit, s"], rows)


def side_by_side(results: Mapping[str, Result]) -> str:
    """Who is how many times faster, each pair timed in turns in one run."""
    rows = []
    for name, preset in RUN_HERE.items():
        if name in results:
            figures = results[name]["figures"]
            ours, peer = (
                median(run["fit_seconds"] for run in figures["runs"][side]) for side in ("ours", "peer")
            )
            faster = figures["times_faster"]["median"]
            label = f"{figures['peer']}: {peer:.0f} s"
            rows.append([f"fit, `{preset}`", f"{ours:.0f} s", label, f"{faster:.1f}"])
    if "codec_speed" in results:
        figures = results["codec_speed"]["figures"]
        peer = f"CTGAN's DataTransformer: {median(figures['seconds']['ctgan']):.1f} s"
        for preset, faster in figures["times_faster"].items():
            ours = f"{median(figures['seconds'][preset]):.2f} s"
            rows.append([f"codecs, `{preset}`", ours, peer, f"{faster['median']:.0f}"])
    return table(["Adult", "ours", "peer", "times faster (median of pairs)"], rows)


def by_stage(run: Mapping[str, Any], stages: Mapping[str, str]) -> list[str]:
    """A table's size, the processor time of each stage, and the most memory that one took."""
    most = max(run[stage]["peak_bytes"] for stage in stages) / 1e9
    times = [brief(run[stage]["processor_seconds"]) for stage in stages]
    return [f"{run['rows']:,} x {run['columns']:,}", *times, f"{most:.2f}"]


def scale(results: Mapping[str, Result], direction: str) -> str:
    """Time and memory as planted tables grow taller or wider."""
    runs = results["wide_tall"]["figures"][direction]
    head = ["rows x columns", *(f"{label}: processor s" for label in STAGES.values()), "most memory, GB"]
    rows = [by_stage(run, STAGES) for run in runs["each"]]
    if runs["slopes"]:
        rows.append(["slope", *(f"{runs['slopes'][stage]:.2f}" for stage in STAGES), ""])
    return table(head, rows) + cut(runs["each"])


def ten_million(results: Mapping[str, Result]) -> str:
    """Every stage on one and on ten million planted rows."""
    figures = results["ten_million"]["figures"]
    stages = {"validate": "validate", **STAGES, "score": "score of a sample"}
    head = ["rows x columns", *(f"{label}: processor s" for label in stages.values()), "most memory, GB"]
    rows = [by_stage(run, stages) for run in figures["each"]]
    grown = [f"{figures['growth'][s]:.2f}" if s in figures["growth"] else "" for s in stages]
    rows.append(["growth by row", *grown, ""])
    return table(head, rows) + cut(figures["each"])


def large_fit(results: Mapping[str, Result]) -> str:
    """A whole fit of a large table."""
    f = results["large_fit"]["figures"]
    head = ["rows x columns", "device", "fit, min", "epochs", "rows/s", "most memory, GB"]
    sizes = f"{f['rows']:,} x {f['columns']}"
    minutes, memory = f"{f['fit_seconds'] / 60:.1f}", f"{f['peak_bytes'] / 1e9:.2f}"
    if f["device_peak_bytes"] is not None:
        memory += f", and {f['device_peak_bytes'] / 1e9:.2f} on the card"
    return table(
        head,
        [[sizes, f["device"], minutes, str(f["epochs_trained"]), f"{f['rows_per_second']:,.0f}", memory]],
    )


def conditional(results: Mapping[str, Result]) -> str:
    """How near rows under a condition come to the real ones that meet it, and what they cost."""
    head = [
        "Adult, 10,000 rows",
        "distance",
        "real halves",
        "free rows that meet it",
        "times a free row's cost",
    ]
    rows = [
        [name, *(number(f[key]) for key in ("distance", "halves", "thrown_away")), f"{f['cost']:.1f}"]
        for name, f in results["conditional"]["figures"].items()
    ]
    return table(head, rows)


def scoring(results: Mapping[str, Result]) -> str:
    """A full report's time and memory."""
    rows = [
        [name, *(f"{f[key]:.0f}" for key in ("seconds", "processor_seconds")), f"{f['peak_bytes'] / 1e9:.2f}"]
        for name, f in results["scoring"]["figures"].items()
    ]
    return table(["table", "s", "processor s", "most memory, GB"], rows)


def operation(results: Mapping[str, Result]) -> str:
    """Faults survived, and what a cluster gains."""
    rows = []
    if "kill_matrix" in results:
        f = results["kill_matrix"]["figures"]
        rows += [
            ["runs struck by a fault", f"{f['runs']}"],
            ["of them Completed, after a second run or by themselves", f"{f['completed']}"],
            ["of them with the undisturbed run's digest", f"{f['same_digest']}"],
            ["partial releases", f"{f['partial_releases']}"],
        ]
    if "cluster" in results:
        f = results["cluster"]["figures"]
        rows += [
            [
                f"sampling {f['rows']:,} rows on Dask, {f['workers']} workers: times faster",
                f"{f['speed_up']:.2f}",
            ],
            [
                f"without the cluster's start of {f['start_seconds']:.0f} s",
                f"{f['speed_up_without_start']:.2f}",
            ],
            ["the same bytes", "yes" if f["same_bytes"] else "NO"],
        ]
    return table(["", ""], rows)


def cut(runs: Sequence[Mapping[str, Any]]) -> str:
    """Which epochs a time limit cut; empty if none."""
    short = [
        f"{run['trained_rows']:,} of {run['training_rows']:,} rows"
        for run in runs
        if run.get("trained_rows", 0) < run.get("training_rows", 0)
    ]
    said = "; ".join(short)
    return (
        f"\n\nEpochs cut by the clock, the time of the other rows added at the rate until then: {said}."
        if said
        else ""
    )


def provenance(results: Mapping[str, Result], names: Sequence[str]) -> str:
    """A line for each machine, date and set of versions behind these results, and each result's commit and load."""
    lines: dict[str, list[str]] = {}
    for name in names:
        if name not in results:
            continue
        m, threads = results[name]["machine"], results[name]["options"]["threads"]
        where = (
            f"{m['date']}, {m['cores']} cores ({kind(m)}), Python {m['python']}, torch {m['torch']}, "
            f"sdmetrics {m['sdmetrics']}, scikit-learn {m['scikit-learn']}"
        )
        what = f"`{name}` (commit {m['commit']}, threads {threads}, load {m['load_before']} before)"
        lines.setdefault(where, []).append(what)
    return "\n".join(f"- {where}: {', '.join(whats)}." for where, whats in lines.items())


def kind(machine: Mapping[str, Any]) -> str:
    """The processor, and its instructions where the result says which."""
    with_ = f" with {machine['instructions']}" if "instructions" in machine else ""
    return f"{machine['processor']}{with_}"


def beside_adult(results: Mapping[str, Result], name: str) -> bool:
    """Whether a result's times may stand beside those of `adult`: one kind of machine took both."""
    return "adult" not in results or kind(results[name]["machine"]) == kind(results["adult"]["machine"])


def warnings(results: Mapping[str, Result]) -> list[str]:
    """What a reader of the times should know."""
    return [warning for warning in (machines(results), busy(results)) if warning]


def machines(results: Mapping[str, Result]) -> str:
    """Which results came from which kind of machine; empty where all came from one."""
    kinds: dict[str, list[str]] = {}
    for name, result in results.items():
        if "machine" in result:
            kinds.setdefault(kind(result["machine"]), []).append(f"`{name}`")
    if len(kinds) < 2:
        return ""
    lists = "; ".join(f"{where}: {', '.join(names)}" for where, names in kinds.items())
    return f"Times came from several kinds of machine: compare times within a kind, ratios across. {lists}."


def busy(results: Mapping[str, Result]) -> str:
    """A warning that names the results whose times were taken while others used the machine; empty if none was."""
    names = [
        f"`{name}`"
        for name, result in results.items()
        if "machine" in result and result["machine"]["load_before"] > result["machine"]["cores"] + 0.5
    ]
    if not names:
        return ""
    return f"The machine was busy with other work while {', '.join(names)} ran: their times say little, ratios apart."
