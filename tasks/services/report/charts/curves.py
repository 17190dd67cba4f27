"""Curves: the detector's ROC, distances to closest records, training."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.services.report.charts import Chart
from tasks.services.report.svg import Plot, linear, percent, points, tag, ticks


def roc_chart(detector: Mapping[str, Sequence[float]], figures: Mapping[str, float]) -> Chart:
    """How well trees tell real rows from synthetic ones, and, as control, from other real ones."""
    plot = Plot(420, 380, (12, 14, 42, 52))
    across, up = linear(0, 1, plot.left, plot.right), linear(0, 1, plot.bottom, plot.top)
    marks = [(t, f"{100 * t:.0f} %") for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
    plot.left_axis(up, marks, "real rows called real")
    plot.bottom_axis(across, marks, "other rows called real")
    plot.line(across(0), up(0), across(1), up(1), "chance")
    drawn = [("holdout", "control line"), ("synthetic", "synthetic line")]
    for name, kind in drawn:
        if name in detector:
            curve = detector[name]
            pairs = [(across(i / (len(curve) - 1)), up(rate)) for i, rate in enumerate(curve)]
            plot.add(tag("polyline", class_=kind, points=points(pairs)))
    aucs = {"synthetic": figures.get("fidelity.c2st"), "holdout": figures.get("fidelity.c2st_holdout")}
    said = "; ".join(f"{name} {auc:.3f}" for name, auc in aucs.items() if auc is not None)
    rows = [
        [
            f"{100 * i / 100:.0f} %",
            *(f"{100 * detector[name][i]:.1f} %" if name in detector else "" for name, _ in reversed(drawn)),
        ]
        for i in (1, 5, 10, 25, 50, 75, 90)
    ]
    picture = plot.render("roc", "ROC curve of the detector", f"Area under the curve: {said}. 0.5 is chance.")
    return Chart(
        "roc",
        "Can a classifier tell them apart?",
        picture,
        f"Area under the curve: {said}. On the diagonal it can only guess.",
        ("other rows called real", "real rows called real: against synthetic", "against holdout"),
        rows,
    )


def distance_chart(closest: Mapping[str, Any]) -> Chart:
    """Distances of synthetic rows to their closest training record, and to their closest holdout record."""
    plot = Plot(560, 300, (12, 14, 42, 52))
    edges = closest["edges"]
    across = linear(edges[0], edges[-1], plot.left, plot.right)
    most = max([*closest["train"], *closest["holdout"], 1e-9])
    up = linear(0, most * 1.05, plot.bottom, plot.top)
    plot.left_axis(up, [(t, f"{100 * t:g} %") for t in ticks(0, most, 4)], "synthetic rows")
    outlines = {}
    for side in ("holdout", "train"):
        outlines[side] = [
            (across(edge), up(share))
            for a, b, share in zip(edges, edges[1:], closest[side], strict=False)
            for edge in (a, b)
        ]
    base = [(across(edges[-1]), plot.bottom), (across(edges[0]), plot.bottom)]
    plot.add(tag("polygon", class_="control area", points=points([*outlines["holdout"], *base])))
    plot.add(tag("polyline", class_="control line", points=points(outlines["holdout"])))
    plot.add(tag("polyline", class_="alarm line", points=points(outlines["train"])))
    for side, kind in (("median_holdout", "control median"), ("median_train", "alarm median")):
        if edges[0] <= closest[side] <= edges[-1]:
            plot.line(across(closest[side]), plot.top, across(closest[side]), plot.bottom, kind)
    plot.bottom_axis(
        across, [(t, f"{t:g}") for t in ticks(edges[0], edges[-1], 7)], "distance to the closest record"
    )
    rows = [
        [f"{a:g} to {b:g}", percent(t, 2), percent(h, 2)]
        for a, b, t, h in zip(edges, edges[1:], closest["train"], closest["holdout"], strict=False)
    ]
    medians = f"{closest['median_train']:.3f}, to holdout {closest['median_holdout']:.3f}"
    said = f"Median distance to train {medians}, over {closest['rows']:,} synthetic rows."
    picture = plot.render("closest", "Distances to the closest training and holdout record", said)
    return Chart(
        "closest",
        "Distance to the closest record",
        picture,
        said,
        ("distance", "to train", "to holdout"),
        rows,
    )


def training_charts(history: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Loss, reconstruction and KL by epoch; the epoch whose weights were kept is marked."""
    best = max((r["epoch"] for r in history if r.get("best")), default=None)
    plans = [
        (
            "loss",
            "Loss (negative ELBO)",
            [("validation_loss", "held back", "synthetic"), ("loss", "training", "control")],
        ),
        ("reconstruction", "Reconstruction", [("reconstruction", "training", "control")]),
        ("kl", "KL divergence", [("kl", "training", "control")]),
    ]
    return [_epochs(f"training-{name}", title, lines, history, best) for name, title, lines in plans]


def _epochs(
    name: str,
    title: str,
    lines: Sequence[tuple[str, str, str]],
    history: Sequence[Mapping[str, Any]],
    best: int | None,
) -> Chart:
    plot = Plot(360, 230, (12, 12, 42, 50))
    present = [(key, said, kind) for key, said, kind in lines if any(r.get(key) is not None for r in history)]
    values = [r[key] for key, _, _ in present for r in history if r.get(key) is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    pad = (high - low or 1.0) * 0.05
    epochs = [r["epoch"] for r in history]
    across, up = (
        linear(epochs[0], max(epochs[-1], epochs[0] + 1), plot.left, plot.right),
        linear(low - pad, high + pad, plot.bottom, plot.top),
    )
    plot.left_axis(up, [(t, f"{t:g}") for t in ticks(low - pad, high + pad, 4)], "nats a row")
    plot.bottom_axis(across, [(t, f"{t:g}") for t in ticks(epochs[0], epochs[-1], 5) if t == int(t)], "epoch")
    if best is not None:
        plot.line(across(best), plot.top, across(best), plot.bottom, "best")
    for key, _, kind in present:
        pairs = [(across(r["epoch"]), up(r[key])) for r in history if r.get(key) is not None]
        plot.add(tag("polyline", class_=f"{kind} line", points=points(pairs)))
    ends = "; ".join(
        f"{said} {next(r[key] for r in reversed(history) if r.get(key) is not None):.3f}"
        for key, said, _ in present
    )
    kept = f", weights kept of epoch {best} (dashed)" if best is not None else ""
    chosen = history[:: max(1, len(history) // 12)]
    chosen = [*chosen, history[-1]] if chosen[-1] is not history[-1] else chosen
    rows = [
        [str(r["epoch"]), *("" if r.get(key) is None else f"{r[key]:.4f}" for key, _, _ in present)]
        for r in chosen
    ]
    picture = plot.render(name, f"{title} by epoch", f"At the end: {ends}{kept}.")
    return Chart(
        name, title, picture, f"At the end: {ends}{kept}", ("epoch", *(said for _, said, _ in present)), rows
    )
