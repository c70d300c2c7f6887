"""Where does a component that is more than one person come apart? The local algorithm, in plain Python."""

from __future__ import annotations

from collections import defaultdict
from hashlib import blake2b

import pandas as pd

CANNOT, SOURCE = "cannot_link", "distinct_source"
MANUAL = 0  # priority of MUST-LINK rows: only CANNOT-LINK stands against them
ORDER = ["priority", "strength", "first_seen", "namespace", "value", "subject_key"]
REFUSED = ["subject_key", "namespace", "value", "code", "detail"]
Node = tuple[str, ...]


class _Parts:
    """Union-find whose parts know what they hold: {(constraint, place): items}."""

    def __init__(self):
        self.parent: dict[Node, Node] = {}
        self.size: dict[Node, int] = defaultdict(lambda: 1)
        self.held: dict[Node, dict[tuple, set]] = defaultdict(lambda: defaultdict(set))

    def find(self, one: Node) -> Node:
        while self.parent.setdefault(one, one) != one:
            self.parent[one] = self.parent[self.parent[one]]
            one = self.parent[one]
        return one

    def clash(self, a: Node, b: Node, counts: dict[str, int], manual: bool) -> str | None:
        """The constraint that a union would break, None where it may happen."""
        small, large = sorted((self.held[a], self.held[b]), key=len)
        for place in sorted(small.keys() & large.keys()):
            if manual and place[0] != CANNOT:
                continue
            few, many = sorted((small[place], large[place]), key=len)
            new = few - many
            # a part that breaks a limit by itself may still grow by what adds nothing to it
            if new and len(many) + len(new) > counts[place[0]]:
                return place[0]
        return None

    def unite(self, a: Node, b: Node) -> None:
        root, leaf = (a, b) if self.size[a] >= self.size[b] else (b, a)
        self.parent[leaf] = root
        self.size[root] += self.size.pop(leaf)
        for place, items in self.held.pop(leaf, {}).items():
            mine = self.held[root]
            few, many = sorted((mine[place], items), key=len)
            many |= few
            mine[place] = many


def _value_node(row) -> Node:
    return ("k", row.other_key) if isinstance(row.other_key, str) else ("v", row.namespace, row.value)


def cut(links: pd.DataFrame, facts: pd.DataFrame, counts: dict[str, int]) -> tuple[dict[str, int], pd.DataFrame]:
    """Constrained union-find over one component: links are taken strongest first unless a union breaks a constraint.

    links: subject_key, namespace, value, other_key (null but for a link of two keys), priority, score, first_seen.
    facts: subject_key, namespace and value (null: the fact is the key's, else the value's), constraint, place, item:
    a part may hold `counts[constraint]` items of a constraint in one place (a window, a source, a CANNOT-LINK row).
    Returns {subject key: number of its part, from the part's smallest key} and the refused links (REFUSED).

    Exact in this sense: of all sets of links that keep every constraint, the accepted one is lexicographically first
    by priority, score (highest first; exact identifiers before any), first seen, names: no stronger link is refused
    for the sake of weaker ones, however many. Constraints only ever get harder as parts grow, so taking links
    greedily finds it in near-linear time. A record that breaks a limit by itself stays one part.
    """
    parts = _Parts()
    keys = set(facts["subject_key"]) | set(links["subject_key"]) | set(links["other_key"].dropna())
    for row in facts.itertuples():
        at = ("v", row.namespace, row.value) if isinstance(row.namespace, str) else ("k", row.subject_key)
        parts.held[at][(row.constraint, row.place)].add(row.item)
    refused = []
    strength = -links["score"].astype(float).fillna(float("inf"))
    for row in links.assign(strength=strength).sort_values(ORDER, kind="stable").itertuples():
        a, b = parts.find(("k", row.subject_key)), parts.find(_value_node(row))
        if a == b:
            continue
        if broken := parts.clash(a, b, counts, row.priority == MANUAL):
            refused.append((row.subject_key, row.namespace, row.value, *_told(broken, row.priority == MANUAL)))
        else:
            parts.unite(a, b)
    return _numbers(keys, parts.find), pd.DataFrame(refused, columns=REFUSED)


def _told(broken: str, manual: bool) -> tuple[str, str]:
    """(code, detail) of a refused link."""
    if broken == CANNOT:
        return CANNOT, "MUST-LINK and CANNOT-LINK contradict: CANNOT-LINK holds" if manual else "a CANNOT-LINK row"
    if broken == SOURCE:
        return SOURCE, "two records of a source without duplicates"
    return "limit_exceeded", f"limit of {broken}"


def _numbers(keys: set[str], find) -> dict[str, int]:
    """A 63-bit number per part, from its smallest key."""
    number: dict[Node, int] = {}
    found = {}
    for key in sorted(keys):
        root = find(("k", key))
        if root not in number:
            number[root] = int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") >> 1
        found[key] = number[root]
    return found
