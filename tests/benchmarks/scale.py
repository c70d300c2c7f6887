"""`make bench-scale`: how do cost, memory and shuffle of each step grow with people, and what would millions need?"""

from __future__ import annotations

import argparse
import math
import os

from tests.benchmarks.run import OUT, demo

TOLERANCE = 0.1  # of an exponent: a step of few seconds is not measured better


def exponent(sizes: list[int], costs: list[float]) -> float:
    """Slope of log(cost) over log(size) by least squares: 1 is linear."""
    xs, ys = [math.log(n) for n in sizes], [math.log(max(cost, 0.1)) for cost in costs]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / sum((x - mx) ** 2 for x in xs)


def allowed(sizes: list[int]) -> float:
    """The exponent of n log n between these sizes."""
    return exponent(sizes, [n * math.log(n) for n in sizes])


def needed(core_seconds: float, size: int, people: int) -> float:
    """Core-hours for `people`, growing as n log n from what `size` people took."""
    return core_seconds * (people / size) * (math.log(people) / math.log(size)) / 3600


def table(sizes: list[int], runs: list[dict[str, dict]], cores: int) -> list[str]:
    """Prints a line a step of the largest run; names of the steps that grow faster than n log n."""
    print(
        f"\n{'step':<12} {'seconds':>22} {'rows':>11} {'rows/core-s':>11} {'exponent':>8} {'shuffled B/row':>14} spill"
    )
    fast = []
    for name, step in runs[-1].items():
        seconds = [run[name]["seconds"] for run in runs]
        rows, slope = sum(step["rows"].values()), exponent(sizes, seconds)
        fast += [name] if slope > allowed(sizes) + TOLERANCE else []
        each = step["shuffle_bytes"] / rows if rows else 0
        told = ", ".join(f"{one:g}" for one in seconds)
        print(f"{name:<12} {told:>22} {rows:>11,} {rows / max(cores * step['seconds'], 0.1):>11,.0f} {slope:>8.2f} "
              f"{each:>11,.0f} {step['spill_bytes'] / 2**20:.0f} MiB")  # fmt: skip
    return fast


def outlook(size: int, steps: dict[str, dict], cores: int) -> None:
    """Prints what a first load of millions would need, from the largest run: n log n, all cores as fast as these."""
    wall, shuffle = sum(step["seconds"] for step in steps.values()), sum(s["shuffle_bytes"] for s in steps.values())
    for people in (10_000_000, 100_000_000):
        hours = needed(cores * wall, size, people)
        print(f"{people:>11,} people: {hours:,.0f} core-hours, {shuffle * people / size / 2**40:.1f} TiB shuffled; "
              f"on 20 machines of 16 cores {hours / 320:.1f} h")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 50_000], help="people, the fewest first")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    if len(given.sizes) < 2 or given.sizes != sorted(set(given.sizes)):
        parser.error("give two sizes or more, the fewest people first")
    OUT.mkdir(parents=True, exist_ok=True)
    cores, runs = os.cpu_count() or 1, []
    for people in given.sizes:
        summary, seconds, memory = demo(people, given.seed)
        runs.append({step["name"]: step for step in summary["steps"]})
        print(f"{people:>9,} people: {seconds:6.0f} s on {cores} cores, {memory:.1f} GiB at most", flush=True)
    fast = table(given.sizes, runs, cores)
    outlook(given.sizes[-1], runs[-1], cores)
    print(f"faster than n log n: {', '.join(fast) or 'no step'}")
    return 1 if fast else 0


if __name__ == "__main__":
    raise SystemExit(main())
