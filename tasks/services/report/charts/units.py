"""What the latent units carry: at the end of training, and how that came about."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.services.report.charts import Chart
from tasks.services.report.svg import Plot, linear, points, tag, ticks


def use_charts(history: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """The KL divergence of every latent unit by epoch, a line each; nothing where fewer than two epochs measured it."""
    measured = [record for record in history if record.get("kl_per_unit")]
    if len(measured) < 2:
        return []
    plot = Plot(360, 230, (12, 12, 42, 50))
    epochs = [record["epoch"] for record in measured]
    most = max(max(record["kl_per_unit"]) for record in measured) or 1.0
    across, up = (
        linear(epochs[0], epochs[-1], plot.left, plot.right),
        linear(0, 1.05 * most, plot.bottom, plot.top),
    )
    plot.left_axis(up, [(t, f"{t:g}") for t in ticks(0, most, 4)], "nats a row")
    plot.bottom_axis(across, [(t, f"{t:g}") for t in ticks(epochs[0], epochs[-1], 5) if t == int(t)], "epoch")
    for nats in zip(*(record["kl_per_unit"] for record in measured), strict=True):
        line = [(across(epoch), up(value)) for epoch, value in zip(epochs, nats, strict=True)]
        plot.add(tag("polyline", class_="unit line", points=points(line)))
    last = measured[-1]
    said = f"At the end: {last['active_units']} of {len(last['kl_per_unit'])} units active"
    chosen = measured[:: max(1, len(measured) // 12)]
    chosen = chosen if chosen[-1] is last else [*chosen, last]
    rows = [
        [
            str(r["epoch"]),
            str(r["active_units"]),
            f"{max(r['kl_per_unit']):.4f}",
            f"{sum(r['kl_per_unit']):.4f}",
        ]
        for r in chosen
    ]
    title = "KL divergence of each latent unit"
    picture = plot.render("training-units", f"{title} by epoch", f"{said}.")
    return [
        Chart(
            "training-units", title, picture, said, ("epoch", "active units", "largest", "all together"), rows
        )
    ]


def units_chart(units: Sequence[Mapping[str, Any]]) -> Chart:
    """KL divergence of every latent unit, largest first; units that carry nothing are faint."""
    ordered = sorted(units, key=lambda unit: -unit["kl"])
    plot = Plot(560, 230, (12, 14, 42, 50))
    most = max([unit["kl"] for unit in ordered] + [1e-9])
    up = linear(0, most * 1.05, plot.bottom, plot.top)
    plot.left_axis(up, [(t, f"{t:g}") for t in ticks(0, most, 4)], "KL, nats a row")
    step = (plot.right - plot.left) / max(1, len(ordered))
    for i, unit in enumerate(ordered):
        said = f"unit {unit['unit']}: KL {unit['kl']:.3f}, variance of the mean {unit['variance']:.3f}"
        kind = "real" if unit["active"] else "faint"
        plot.rect(
            plot.left + i * step + 1,
            up(unit["kl"]),
            min(step - 2, 40),
            plot.bottom - up(unit["kl"]),
            kind,
            said,
        )
    plot.line(plot.left, plot.bottom, plot.right, plot.bottom, "axis")
    plot.text(
        (plot.left + plot.right) / 2, plot.height - 6, "latent units, the most informative first", "label"
    )
    active = sum(unit["active"] for unit in ordered)
    carried = sum(unit["kl"] for unit in ordered)
    said = f"{active} of {len(ordered)} units are active; together they carry {carried:.2f} nats a row."
    rows = [
        [str(u["unit"]), f"{u['kl']:.4f}", f"{u['variance']:.4f}", "yes" if u["active"] else "no"]
        for u in ordered
    ]
    picture = plot.render("units", "KL divergence by latent unit", said)
    return Chart(
        "units",
        "What each latent unit carries",
        picture,
        said,
        ("unit", "KL, nats", "variance of the mean", "active"),
        rows,
    )
