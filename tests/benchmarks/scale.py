"""`make bench-scale`: how do cost, memory and shuffle of each step grow with people, and what would millions need?"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
from datetime import datetime
from pathlib import Path

from tests.benchmarks.grow import grow
from tests.benchmarks.run import DAY, OUT, ROOT, measured

TOLERANCE = 0.1  # of an exponent: a step of few seconds is not measured better
BASE = 50_000  # more people than these are copies of fewer, made in Spark: the generator works in memory
MACHINES, CORES, EFFICIENCY = 20, 16, 0.6  # of the cluster that the outlook speaks of
CDP = str(Path(sys.executable).with_name("cdp"))


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


def origin(people: int) -> tuple[int, int]:
    """(people to generate, copies of them) that make `people`. Raises ValueError where no whole number does."""
    copies = -(-people // BASE)
    if people % copies or copies > 999:
        raise ValueError(f"{people} people are no whole number of copies of at most {BASE}: give a multiple of {BASE}")
    return people // copies, copies


def drops(people: int, seed: int) -> Path:
    """The drops of `people`, generated, or copied in Spark from fewer."""
    first, copies = origin(people)
    made = OUT / "scale" / str(first)
    if not (made / "drops").exists():
        command = [CDP, "demo", "data", "--people", str(first), "--days", "1", "--seed", str(seed), "--out", str(made)]
        measured(command, OUT / f"{first}-data.log")
    if copies == 1:
        return made / "drops"
    own = OUT / "scale" / str(people)
    own.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.benchmarks.scale", "--grow", str(made / "drops"), str(own / "drops")]
    seconds, _ = measured([*command, "--sizes", str(first), str(people)], OUT / f"{people}-data.log")
    print(f"{people:>9,} people: {copies} copies of {first:,}, made in Spark in {seconds:.0f} s", flush=True)
    return own / "drops"


def conf_with(memory: str) -> Path:
    """The shipped deployment with another driver_memory."""
    conf = OUT / "scale" / "conf"
    shutil.rmtree(conf, ignore_errors=True)
    shutil.copytree(ROOT / "conf", conf)
    path = conf / "env" / "local.yml"
    kept = [line for line in path.read_text().splitlines() if not line.startswith("driver_memory:")]
    path.write_text("\n".join([*kept, f"driver_memory: {memory}", ""]))
    return conf


def run(people: int, seed: int, memory: str) -> dict[str, dict]:
    """Every step on a retailer of `people`, in a process of its own; the account of each, with its peak as `gib`."""
    found, lake, seen = drops(people, seed), OUT / "scale" / str(people) / "lake", []
    shutil.rmtree(lake, ignore_errors=True)
    command = [CDP, "run", "--conf", str(conf_with(memory)), "--lake", str(lake), "--drops", str(found), "--date"]
    seconds, most = measured([*command, str(DAY)], OUT / f"{people}-scale.log", seen)
    print(f"{people:>9,} people: {seconds:6.0f} s on {os.cpu_count()} cores, {most:.1f} GiB at most", flush=True)
    steps = {step["name"]: step for step in json.loads((lake / "summary.json").read_text())["steps"]}
    marks = {name: json.loads((lake / "_cdp" / "steps" / f"{name}.json").read_text()) for name in steps}
    return {name: step | {"gib": held(seen, marks[name])} for name, step in steps.items()}


def held(seen: list[tuple[float, float]], mark: dict) -> float:
    """GiB at most while the step of `mark` ran: `at` is its end."""
    end = datetime.fromisoformat(mark["at"]).timestamp()
    return max((gib for moment, gib in seen if end - mark["seconds"] - 1 <= moment <= end), default=0.0)


def table(sizes: list[int], runs: list[dict[str, dict]], cores: int) -> list[str]:
    """Prints a line a step, one figure a size; names of the steps that grow faster than n log n.

    Judged by the two largest sizes: the fixed cost of a step weighs least there.
    """
    heads = ("seconds", "rows written a core-second", "exponent", "GiB", "shuffled B/row", "spilled MiB")
    print("\n| step | " + " | ".join(heads) + " |\n| --- |" + " --- |" * len(heads))
    fast = []
    for name in runs[-1]:
        steps = [one[name] for one in runs]
        slope = exponent(sizes[-2:], [step["seconds"] for step in steps[-2:]])
        fast += [name] if slope > allowed(sizes[-2:]) + TOLERANCE else []
        print(f"| {name} | {' | '.join(figures(steps, slope, cores))} |")
    return fast


def figures(steps: list[dict], slope: float, cores: int) -> list[str]:
    """The cells of one step's line: accounts of its runs, the fewest people first."""
    rows, seconds = [sum(step["rows"].values()) for step in steps], [step["seconds"] for step in steps]
    speeds = [n / max(cores * one, 0.1) for n, one in zip(rows, seconds, strict=True)]
    shuffled = [step["shuffle_bytes"] / max(n, 1) for n, step in zip(rows, steps, strict=True)]
    return [
        ", ".join(f"{one:g}" for one in seconds),
        ", ".join(f"{one:,.0f}" for one in speeds),
        f"{slope:.2f}",
        ", ".join(f"{step['gib']:.1f}" for step in steps),
        ", ".join(f"{one:,.0f}" for one in shuffled),
        ", ".join(f"{step['spill_bytes'] / 2**20:,.0f}" for step in steps),
    ]


def outlook(size: int, steps: dict[str, dict], cores: int) -> None:
    """Prints what a first load of millions would need, from the largest run: n log n, all cores as fast as these."""
    wall, shuffle = sum(step["seconds"] for step in steps.values()), sum(s["shuffle_bytes"] for s in steps.values())
    for people in (10_000_000, 100_000_000):
        hours, bytes_ = needed(cores * wall, size, people), shuffle * people / size
        print(f"{people:>11,} people: {hours:,.0f} core-hours, {bytes_ / 2**40:.2f} TiB shuffled; {MACHINES} machines "
              f"of {CORES} cores, busy for {EFFICIENCY:.0%}: {hours / (MACHINES * CORES * EFFICIENCY):.1f} h, "
              f"{bytes_ / MACHINES / 2**30:,.0f} GiB of local disk each")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[5_000, 50_000, 500_000], help="people, the fewest first"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--memory", default="8g", help="driver_memory of all runs")
    parser.add_argument("--grow", nargs=2, type=Path, help="only copy the first folder's drops to the second, in Spark")
    given = parser.parse_args()
    if len(given.sizes) < 2 or given.sizes != sorted(set(given.sizes)):
        parser.error("give two sizes or more, the fewest people first")
    if given.grow:
        copy(*given.grow, given.sizes[0], given.sizes[1] // given.sizes[0])
        return 0
    try:
        [origin(people) for people in given.sizes]
    except ValueError as error:
        parser.error(str(error))
    shutil.rmtree(OUT / "scale", ignore_errors=True)
    cores, runs = os.cpu_count() or 1, [run(people, given.seed, given.memory) for people in given.sizes]
    fast = table(given.sizes, runs, cores)
    outlook(given.sizes[-1], runs[-1], cores)
    print(f"faster than n log n: {', '.join(fast) or 'no step'}")
    return 1 if fast else 0


def copy(made: Path, target: Path, people: int, copies: int) -> None:
    from cdp_spark import session
    from cdp_spark.config.load import load

    grow(session.build(load(ROOT / "conf").env, name="grow"), made, target, people, copies)


if __name__ == "__main__":
    raise SystemExit(main())
