"""How is one person's evidence shown? As a tree of text for a terminal, and as a drawing."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import pandas as pd

from cdp_spark.identity.explain import ends


class Line(NamedTuple):
    """One node of the tree: how deep it lies, the link above it (None at a root) and its label."""

    depth: int
    link: object | None
    label: str
    parent: int | None


def masked(text: str) -> str:
    """First letter and length class only: 'zoe@example.com' as 'z***', so that a screen tells nobody's address."""
    return f"{text[:1]}***"


def record(key: str, show: bool) -> str:
    """A subject key; one that is itself an identifier (source|namespace:value) has its value masked."""
    source, _, rest = key.partition("|")
    namespace, colon, value = rest.partition(":")
    return key if show or not colon else f"{source}|{namespace}:{masked(value)}"


def lines(rows: pd.DataFrame, keys: list[str], show: bool) -> list[Line]:
    """Depth-first lines over a person's records `keys` and evidence `rows`, from the smallest key."""
    around, links = defaultdict(list), list(rows.itertuples())
    for number, ((_, *a), (_, *b)) in enumerate(ends(rows)):
        around[tuple(a)].append((tuple(b), number))
        around[tuple(b)].append((tuple(a), number))
    found: list[Line] = []
    seen: set = set()
    stack = [(("k", key), 0, None, None) for key in sorted(keys, reverse=True)]
    while stack:
        node, depth, number, parent = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        found.append(Line(depth, None if number is None else links[number], _label(node, show), parent))
        here = len(found) - 1
        stack += [(to, depth + 1, link, here) for to, link in sorted(around[node], reverse=True)]
    return found


def _label(node: tuple, show: bool) -> str:
    if node[0] == "k":
        return record(node[1], show)
    return f"{node[1]} {node[2] if show else masked(node[2])}"


def text(found: list[Line]) -> str:
    """The tree for a terminal: each node with the facts of its link, BRIDGE where it is one."""
    told = []
    for line in found:
        if line.link is None:
            told.append(line.label)
            continue
        told.append(f"{'   ' * (line.depth - 1)}└─ {line.label}  ({', '.join(_facts(line.link))})")
    return "\n".join(told)


def _facts(link) -> list[str]:
    """Of a link: priority, first sighting, of a match or a steward's link why, of a match how sure."""
    facts = [f"priority {link.priority}"]
    facts += [] if pd.isna(link.first_seen) else [f"since {link.first_seen:%Y-%m-%d %H:%M}"]
    facts += [] if pd.isna(link.other_key) else [f"{link.namespace}: {link.rule}"]
    facts += [] if pd.isna(link.score) else [f"score {link.score:.1f} bits, probability {probability(link.score):.4f}"]
    return [*facts, *(["BRIDGE"] if link.bridge else [])]


def probability(bits: float) -> float:
    """Of log odds in bits: 0 is a half, 5 is 32 to 1."""
    return 1 / (1 + 2.0**-bits)


def plot(found: list[Line], title: str, path: str) -> None:
    """Draw the tree to an .svg, .png or .pdf file; bridges are red. Raises ValueError for another ending."""
    from matplotlib.figure import Figure

    if not path.lower().endswith((".svg", ".png", ".pdf")):
        raise ValueError(f"{path}: expected a name that ends in .svg, .png or .pdf")
    figure = Figure(figsize=(8, 1 + 0.35 * len(found)), layout="constrained")
    axes = figure.add_subplot()
    for row, line in enumerate(found):
        if line.parent is not None:
            x, colour = found[line.parent].depth, "#c0392b" if line.link.bridge else "#7f8c8d"
            axes.plot([x, x, line.depth], [-line.parent, -row, -row], color=colour, lw=1.2, zorder=1)
        axes.scatter([line.depth], [-row], s=36, color="#2c3e50", zorder=2)
        axes.annotate(line.label, (line.depth, -row), xytext=(7, -3), textcoords="offset points", fontsize=9)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlim(-0.3, max(line.depth for line in found) + 4)
    axes.axis("off")
    figure.savefig(path)
