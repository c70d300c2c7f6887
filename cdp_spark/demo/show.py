"""What does the platform do on a retailer whose truth is known? Generates it, runs every step, judges the result."""

from __future__ import annotations

import json
import shutil
from datetime import date, timedelta
from pathlib import Path

import click

from cdp_spark import job as jobs
from cdp_spark.demo.retailer import generate
from cdp_spark.identity.evaluate import read_labels
from cdp_spark.identity.judge import judged
from cdp_spark.pipeline import between
from cdp_spark.runner import run_steps
from cdp_spark.summary import print_summary, summary

START = date(2026, 1, 30)


PARTS = ("drops", "truth", "lake", "exports")
MARK = ".cdp-demo"


def cleared(out: Path) -> None:
    """Make room for a demo in `out`. Raises click.UsageError where what lies there is no earlier demo's."""
    there = [name for name in PARTS if (out / name).exists()]
    if there and not any((out / mark).exists() for mark in (MARK, "truth/people.csv")):
        raise click.UsageError(
            f"--out {out} holds {', '.join(there)} of your own (no {MARK} in it): give an empty folder, as a demo "
            "replaces what it finds"
        )
    for name in there:
        shutil.rmtree(out / name)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / MARK).touch()
    except OSError as error:
        raise click.UsageError(f"--out {out}: cannot be written ({error.strerror})") from None


def show(out: Path, people: int, days: int, seed: int, conf_dir: str) -> None:
    """Fill the cleared folder `out` with drops/, truth/, lake/, exports/ and summary.json."""
    click.echo(f"generating a retailer of {people} people", err=True)
    generate(out, people, days, seed, START)
    for number in range(days):
        day = START + timedelta(days=number)
        job = jobs.start(conf_dir, "local", day, lake=str(out / "lake"), drops=str(out / "drops"),
                         exports=str(out / "exports"))  # fmt: skip
        steps = run_steps(job, between())
    found = summary(job, steps)
    found["identity"] |= judged(job.lake, job.conf.identity, read_labels(str(out / "truth" / "people.csv")))
    (out / "summary.json").write_text(json.dumps(found, indent=1, default=str))
    print_summary(found)
    click.echo(f"\neverything lies in {out}: drops/ truth/ lake/ exports/ summary.json")
