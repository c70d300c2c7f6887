"""Plain Python references that the hard algorithms are compared with."""

from __future__ import annotations


def union_find(edges: list[tuple]) -> dict:
    """node -> smallest node of its component."""
    parent: dict = {}

    def find(one):
        while parent.setdefault(one, one) != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for a, b in edges:
        low, high = sorted((find(a), find(b)))
        parent[high] = low
    return {node: find(node) for node in list(parent)}
