"""`make bench`: the demo at 1x and 10x people, each in a process of its own: seconds a step, memory, growth, reruns."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from tests.processes import tree

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "bench"
DAY = date(2026, 1, 30)
MOST_GROWTH, MOST_GIB = 5, 8  # at ten times the people
MOST_APART, MOST_MERGED = 0.02, 0.01  # of F1 from the ceiling; of records with another person's
GIVEN = dict(os.environ)  # what is measured runs as a user's would: the tests' modules set Java up for short runs


def peak(pids: list[int]) -> float:
    """GiB that the processes hold together at this moment: shared pages once, by their proportional set size."""
    held = {}
    for pid in pids:
        try:
            name = Path(f"/proc/{pid}/exe").readlink().name
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        kib = int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1])
        # Java starts a helper (chmod and the like) by a child that is, for a moment, a second view of its own memory
        key = name if name == "java" else pid
        held[key] = max(kib, held.get(key, 0))
    return sum(held.values()) / 2**20


def measured(command: list[str], log: Path, seen: list[tuple[float, float]] | None = None) -> tuple[float, float]:
    """(seconds, peak GiB of the whole process tree, read twice a second) of a command. Raises where it fails.

    seen: gets each reading, as (moment in seconds since 1970, GiB).
    """
    begin, most = time.monotonic(), 0.0
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=ROOT, env=GIVEN)
        while process.poll() is None:
            held = peak(tree(process.pid))
            most = max(most, held)
            if seen is not None:
                seen.append((time.time(), held))
            try:
                process.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}; its output is in {log}")
    return time.monotonic() - begin, most


def now(lake: str) -> dict[str, tuple[int, int]]:
    """(rows, order-free checksum) of every table, without facts of the run."""
    from cdp_spark import session
    from cdp_spark.config.load import load
    from tests.lakes import contents

    return contents(session.build(load(ROOT / "conf").env), lake)


def demo(people: int, seed: int) -> tuple[dict, float, float]:
    out = OUT / str(people)
    out.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).with_name("cdp")), "demo", "run", "--out", str(out)]
    seconds, memory = measured([*command, "--people", str(people), "--seed", str(seed)], OUT / f"{people}.log")
    return json.loads((out / "summary.json").read_text()), seconds, memory


def rerun(people: int) -> list[str]:
    """Names of tables whose content a rerun of the same date changed."""
    out = OUT / str(people)
    before = now(str(out / "lake"))
    command = [str(Path(sys.executable).with_name("cdp")), "run", "--conf", "conf", "--lake", str(out / "lake")]
    command += ["--drops", str(out / "drops"), "--exports", str(out / "exports"), "--date", str(DAY)]
    seconds, _ = measured(command, OUT / f"{people}-rerun.log")
    print(f"rerun of {DAY}: {seconds:.0f} s")
    after = now(str(out / "lake"))
    return sorted(name for name in before if before[name] != after[name])


def missed(found: dict, ratio: float, gib: float, changed: list[str]) -> list[str]:
    """What a run at the larger size does not reach of what is asked of it; [] where it reaches all.

    found: its summary.  ratio: of its time to that of the smaller one.  gib: the most that it held.  changed: tables
    whose content a rerun of the smaller one changed.
    """
    who = found["identity"]
    apart, merged = who["ceiling_f1"] - who["pairwise"]["f1"], who["over_merged_share"]
    asked = {
        f"time grew {ratio:.2f} x, asked are at most {MOST_GROWTH}": ratio <= MOST_GROWTH,
        f"{gib:.1f} GiB were held, asked are at most {MOST_GIB}": gib <= MOST_GIB,
        f"F1 is {apart:.4f} below the ceiling, asked are at most {MOST_APART}": apart <= MOST_APART,
        f"{merged:.2%} of the records are over-merged, asked are at most {MOST_MERGED:.0%}": merged <= MOST_MERGED,
        f"a rerun changed {', '.join(changed)}": not changed,
    }
    return [told for told, reached in asked.items() if not reached]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--factor", type=int, default=10)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    small, seconds, memory = demo(given.people, given.seed)
    print(f"{given.people:>8,} people: {seconds:6.0f} s, {memory:.1f} GiB", flush=True)
    changed = rerun(given.people)
    print(f"tables that the rerun changed: {', '.join(changed) or 'none'}", flush=True)
    large, longer, more = demo(given.people * given.factor, given.seed)
    print(
        f"{given.people * given.factor:>8,} people: {longer:6.0f} s, {more:.1f} GiB, {longer / seconds:.2f} x the time"
    )
    times = {step["name"]: step["seconds"] for step in small["steps"]}
    print(f"\n{'step':<12} {'1x s':>8} {f'{given.factor}x s':>8} {'ratio':>7} {'exponent':>9}")
    for step in large["steps"]:
        ratio = step["seconds"] / times[step["name"]]
        exponent = math.log(ratio) / math.log(given.factor)
        print(f"{step['name']:<12} {times[step['name']]:>8} {step['seconds']:>8} {ratio:>7.2f} {exponent:>9.2f}")
    wrong = missed(large, longer / seconds, more, changed) + missed(small, 1.0, memory, [])
    print("\n" + ("\n".join(f"MISSED: {told}" for told in wrong) or "all that is asked is reached"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
