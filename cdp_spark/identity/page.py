"""How did the identity graph fare over time? One self-contained HTML page with plots and the newest numbers."""

from __future__ import annotations

import io
from html import escape

import pandas as pd

PLOTS = (
    ("People and records", ("people", "records")),
    ("Consolidation rate", ("consolidation_rate",)),
    ("Records a person", ("person_size",)),
    ("Records that stay alone, a source", ("singletons",)),
    ("Changes a run", ("changes",)),
    ("Share of records whose person changed", ("id_churn",)),
    ("Coverage: share of people with a value", ("coverage",)),
    ("Refused links", ("refused_links",)),
    ("Hubs: values that link nobody", ("hubs",)),
    ("Bridges", ("bridges",)),
    ("Values to look at, by their hash: records", ("suspect_value",)),
)
LEGEND_MOST = 16  # more lines than that: the table below names them
STYLE = (
    "body{font:15px sans-serif;margin:2em auto;max-width:60em}td,th{padding:.2em .8em;text-align:left}svg{width:48%}"
)


def page(rows: pd.DataFrame) -> str:
    """HTML of identity.health's rows (all runs): SVG inline, no script, nothing fetched."""
    newest = rows[rows["as_of"] == rows["as_of"].max()]
    plots = "\n".join(_plot(title, rows[rows["metric"].isin(metrics)]) for title, metrics in PLOTS)
    cells = "\n".join(
        f"<tr><td>{escape(r.metric)}</td><td>{escape(r.member)}</td><td>{r.value:,.4g}</td></tr>"
        for r in newest.itertuples()
    )
    head = f"<!doctype html><meta charset=utf-8><title>Identity health</title><style>{STYLE}</style>"
    day = escape(str(rows["as_of"].max()))
    return f"{head}<h1>Identity health</h1>\n{plots}\n<h2>As of {day}</h2><table>{cells}</table>\n"


def _plot(title: str, rows: pd.DataFrame) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "identity", "svg.fonttype": "none"}):
        figure = Figure(figsize=(6, 3), layout="constrained")
        axes = figure.add_subplot()
        for (metric, member), line in rows.groupby(["metric", "member"]):
            days = pd.to_datetime(line["as_of"])
            axes.plot(days, line["value"], marker="o", ms=3, label=metric if member == "all" else member)
        axes.set_title(title, loc="left", fontsize=11)
        axes.tick_params(labelsize=8)
        axes.tick_params(axis="x", rotation=30)
        if 0 < len(axes.lines) <= LEGEND_MOST:
            axes.legend(fontsize=7, frameon=False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
