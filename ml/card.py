"""What should somebody know who uses this model? Its card in words, its curves as pictures, from the report alone."""

from __future__ import annotations

import io

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure  # noqa: E402


def card(report: dict) -> str:
    """The model card as Markdown: data, figures with intervals, what was left out and why."""
    judged = report.get("cross_validation") or report.get("holdout") or {}
    share = "" if report["base_rate"] is None else f", {report['base_rate']:.1%} positive"
    lines = [
        f"# Model {report['model']}",
        "",
        f"Learned from {report['rows']:,} rows{share}.",
        "",
    ]
    lines += ["| measure | value | 95 % interval |", "| --- | --- | --- |"]
    for name, (low, high) in judged.get("intervals", {}).items():
        lines.append(f"| {name} | {judged[name]:.4f} | {low:.4f} to {high:.4f} |")
    if found := judged.get("calibration"):
        lines += ["", f"Calibration: slope {found['slope']:.2f}, intercept {found['intercept']:.2f}; mean probability "
                  f"{found['mean_probability']:.3f}, observed {found['observed_share']:.3f}."]  # fmt: skip
    lines += ["", *(f"**{warning}**" for warning in report["warnings"])] if report.get("warnings") else []
    if split := report.get("time_split"):
        found = split["calibration"]
        lines += ["", f"On the newest {split['test_rows']:,} rows: ROC-AUC {split['roc_auc']:.3f}, mean probability "
                  f"{found['mean_probability']:.3f}, observed {found['observed_share']:.3f}."]  # fmt: skip
        lines += [f"- alarm: {reason}" for reason in split["drift"]["reasons"]]
    if found := report.get("decision"):
        lines += ["", "Acted on: " + ", ".join(f"{name} {value:.3g}" for name, value in found.items()) + "."]
    if report.get("snapshot_id"):
        lines += ["", f"Training set: {report['snapshot_id']} (ml.examples)."]
    lines += ["", f"Features: {', '.join(report['features'])}."]
    if found := report.get("importance"):
        best = [f"{name} {value:.3f}" for name, value in list(found.items())[:10]]
        lines += ["", f"{report.get('importance_is', 'Loss of ROC-AUC without')}: {', '.join(best)}."]
    lines += ["", "Left out:", *(f"- {name}: {why}" for name, why in report.get("left_out", {}).items())]
    lines += ["", "Notes:", *(f"- {note}" for note in report.get("notes", []))]
    return "\n".join(lines) + "\n"


def plots(report: dict) -> dict[str, bytes]:
    """PNG pictures by name: calibration and lift by tenths, of the figures that decide."""
    judged = report.get("cross_validation") or report.get("holdout")
    if not judged:
        return {}
    tenths = judged["deciles"]
    said, seen = [t["mean_probability"] for t in tenths], [t["share"] for t in tenths]
    top = max(*said, *seen) * 1.05
    share = [0.0, *(t["captured"] for t in tenths)]
    return {
        "calibration": _picture([(said, seen, "o-"), ([0, top], [0, top], "k:")], "mean probability", "observed share"),
        "lift": _picture(
            [([t["decile"] for t in tenths], [t["lift"] for t in tenths], "o-")], "tenth, best first", "lift"
        ),
        "captured": _picture(
            [([n / (len(share) - 1) for n in range(len(share))], share, "o-"), ([0, 1], [0, 1], "k:")],
            "share of rows, best first",
            "share of positives",
        ),
    }


def curves(truth, chance) -> dict[str, bytes]:
    """ROC and precision-recall curves of one set of rows, as PNG pictures."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    wrong, right, _ = roc_curve(truth, chance)
    precision, recall, _ = precision_recall_curve(truth, chance)
    return {
        "roc": _picture([(wrong, right, "-"), ([0, 1], [0, 1], "k:")], "false positive rate", "true positive rate"),
        "precision_recall": _picture([(recall, precision, "-")], "recall", "precision"),
    }


def watching(lines: list[dict], most: int = 12) -> bytes:
    """PNG of rows of ml.monitoring: PSI of the score and of what moved most, and how probabilities came true."""
    moved = sorted((line for line in lines if line["psi"] is not None), key=lambda line: line["psi"])[-most:]
    tenths = [line for line in lines if line["kind"] == "realised"]
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.barh([line["name"] for line in moved], [line["psi"] for line in moved],
              color=["tab:red" if line["alarm"] else "tab:blue" for line in moved])  # fmt: skip
    left.set(xlabel="population stability index")
    said, seen = [line["expected"] for line in tenths], [line["found"] for line in tenths]
    top = max([*said, *seen, 0.01]) * 1.05
    right.plot(said, seen, "o", [0, top], [0, top], "k:")
    right.set(xlabel="mean probability", ylabel="share that came true" if tenths else "labels are not known yet")
    return _png(figure)


def _picture(series: list[tuple], across: str, up: str) -> bytes:
    figure = Figure(figsize=(4.5, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for x, y, style in series:
        axes.plot(x, y, style)
    axes.set(xlabel=across, ylabel=up)
    axes.grid(alpha=0.3)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    kept = io.BytesIO()
    figure.savefig(kept, format="png", dpi=80)
    return kept.getvalue()
