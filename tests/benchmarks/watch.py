"""`make bench-watch`: how long after their file has come are new rows resolved? `cdp watch --once` on a second day."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from datetime import timedelta
from pathlib import Path

from tests.benchmarks.run import DAY, OUT, measured

CDP = str(Path(sys.executable).with_name("cdp"))
NEXT = DAY + timedelta(days=1)


def halves(path: Path) -> tuple[str, str]:
    """The lines of a file in two parts."""
    lines = path.read_text().splitlines(keepends=True)
    return "".join(lines[: len(lines) // 2]), "".join(lines[len(lines) // 2 :])


def look(places: list[str], log: Path, about: str) -> None:
    """One look, as a scheduler starts it: a process, its Spark, the steps up to resolve; prints its seconds."""
    seconds, _ = measured([CDP, "watch", *places, "--date", str(NEXT), "--once"], log)
    told = re.findall(r"nothing new|.* landed and resolved in \d+ s", log.read_text())
    print(f"{about:<46} {seconds:6.0f} s   {told[-1].strip() if told else ''}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    out = OUT / "watch"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    made = [CDP, "demo", "data", "--people", str(given.people), "--days", "2", "--seed", str(given.seed)]
    measured([*made, "--out", str(out)], out / "data.log")
    places = ["--conf", "conf", "--lake", str(out / "lake"), "--drops", str(out / "drops")]
    web = out / "drops" / "web" / str(NEXT) / "events.jsonl"
    first, second = halves(web)
    web.write_text(first)
    seconds, _ = measured([CDP, "run", *places, "--date", str(DAY), "--to", "resolve"], out / "run.log")
    print(f"{f'{given.people:,} people, all their history':<46} {seconds:6.0f} s", flush=True)
    look(places, out / "first.log", "the first look of a day: every source")
    web.with_name("later.jsonl").write_text(second)
    look(places, out / "new.log", f"{second.count(chr(10)):,} new rows in a file of web events")
    look(places, out / "none.log", "nothing new")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
