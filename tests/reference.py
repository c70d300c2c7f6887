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


def lexicographic(links: list[tuple], facts: list[tuple], counts: dict[str, int]) -> set[int]:
    """Numbers of the accepted links, by trying every subset: the lexicographically first one that keeps all limits.

    links: (node, node), strongest first.  facts: (node, constraint, place, item).
    """

    def keeps(subset) -> bool:
        whole = [(node, node) for node, *_ in facts]
        root = union_find(whole + [links[n] for n in subset])
        held: dict = {}
        for node, constraint, place, item in facts:
            held.setdefault((root[node], constraint, place), set()).add(item)
        return all(len(items) <= counts[constraint] for (_, constraint, _), items in held.items())

    def bits(number: int) -> list[int]:
        return [n for n in range(len(links)) if number >> (len(links) - 1 - n) & 1]

    return set(next(taken for number in range(2 ** len(links) - 1, -1, -1) if keeps(taken := bits(number))))
