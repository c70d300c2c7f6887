"""Which days does a run make, may it publish, and does a replay end in the tables of a punctual one?"""

from __future__ import annotations

import shutil
from datetime import date
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from cdp_spark import runner
from cdp_spark.governance import gates
from cdp_spark.governance.publish import publication
from cdp_spark.marks import unfit, warnings
from cdp_spark.pipeline import Step, between
from cdp_spark.runner import RunError, days, refuse_older, refuse_rewind, run_steps
from cdp_spark.watch import look, new_sources
from tests.drops import DAY1, DAY2, write
from tests.lakes import contents, job_on, resolved_as_it_stands

ONE, TWO = date(2026, 1, 30), date(2026, 1, 31)
STEPS = [step for step in between() if step.name in ("standardise", "resolve", "profile", "features", "kpis")]


def mark(token: str, day: date = ONE, status: str = "done", warned: tuple = (), **inputs: str) -> dict:
    return {"date": str(day), "status": status, "token": token, "inputs": inputs, "warnings": list(warned)}


def fit() -> dict[str, dict]:
    return {
        "standardise": mark("s"),
        "resolve": mark("r", standardise="s"),
        "profile": mark("p", standardise="s", resolve="r"),
        "features": mark("f", standardise="s", resolve="r", profile="p"),
        "kpis": mark("k", standardise="s", resolve="r", profile="p"),
    }


def test_tables_of_one_day_and_one_order_belong_together():
    assert unfit(fit(), ONE, STEPS) == []


@pytest.mark.parametrize(
    ("step", "left", "reasons"),
    [
        ("kpis", None, ["kpis has not run"]),
        ("features", mark("f", status="running"), ["features did not end"]),
        ("features", mark("f", status="gate"), ["features was stopped by its gate"]),
        ("kpis", mark("k", TWO), ["kpis last ran for 2026-01-31"]),
        ("profile", mark("new", standardise="s", resolve="r"),
         ["features ran before profile was run again", "kpis ran before profile was run again"]),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_told(step, left, reasons):
    found = fit() | {step: left}
    assert unfit({name: one for name, one in found.items() if one}, ONE, STEPS) == reasons


def test_a_weekly_step_counts_from_whenever_it_ran():
    weekly = Step("train", "", ("silver.events",), ("ml.trainings",), every="week")
    assert unfit(fit(), ONE, [*STEPS, weekly]) == []
    assert unfit(fit() | {"train": mark("t", date(2026, 1, 25))}, ONE, [*STEPS, weekly]) == []


def test_warnings_of_every_process_of_a_day_count():
    found = {
        "score": mark("c", warned=["c"]),
        "ingest": mark("a", warned=["a", "b"]),
        "kpis": mark("k", TWO, warned=["x"]),
    }
    assert warnings(found, ONE) == ["a", "b", "c"]


def test_a_run_that_publishes_again_gets_an_id_of_its_own():
    assert publication("r", []) == "r"
    assert publication("r", ["r", "r~2"]) == "r~3"


def test_days():
    assert days("2026-01-30", None, None) == [ONE]
    assert days(None, "2026-01-30", "2026-01-31") == [ONE, TWO]
    for wrong in ((None, None, None), ("2026-01-30", "2026-01-30", None), (None, "2026-01-31", "2026-01-30")):
        with pytest.raises(ValueError, match="date"):
            days(*wrong)
    with pytest.raises(click.BadParameter):
        days("30.1.2026", None, None)


def test_an_older_day_alone_is_refused(spark, tmp_path):
    job = job_on(spark, tmp_path / "lake", "", DAY1)
    refuse_older(job, ONE)
    row = ("r", TWO, job.run_at.replace(tzinfo=None), "published", "h", None, {}, [], [])
    schema = job.lake.read("governance.runs").schema
    job.lake.write("governance.runs", spark.createDataFrame([row], schema))
    refuse_older(job, TWO)
    with pytest.raises(RunError, match="--from-date 2026-01-30 --to-date 2026-01-31"):
        refuse_older(job, ONE)


def test_a_day_before_those_whose_people_are_there_is_refused(spark, tmp_path, monkeypatch):
    """`--to resolve` publishes nothing, and would all the same forget the people of every later day."""
    job = job_on(spark, tmp_path / "lake", "", DAY1)
    refuse_rewind(job, ONE)
    resolved_as_it_stands(job.lake, date(2026, 2, 1))  # the midnight that ends the 31st
    refuse_rewind(job, TWO)
    done = []
    monkeypatch.setattr(runner.jobs, "start", lambda *_, **__: job)
    monkeypatch.setattr(runner, "run_steps", lambda *_, **__: done.append("steps") or [])
    monkeypatch.setattr(runner, "finished", lambda *_: None)
    place = ["--conf", "c", "--lake", "l", "--drops", "d"]

    def run(*words: str):
        return CliRunner().invoke(runner.run_command, [*place, *words]).exception

    for words in (("--to", "resolve"), ("--from", "resolve", "--to", "profile")):
        refused = run("--date", "2026-01-30", *words)
        assert isinstance(refused, RunError) and "people of 2026-01-31 are there already" in str(refused)
    assert done == []
    assert run("--date", "2026-01-30", "--to", "standardise") is None  # touches nobody
    assert run("--from-date", "2026-01-30", "--to-date", "2026-01-31", "--to", "resolve") is None  # every day anew
    assert run("--date", "2026-01-31", "--to", "resolve") is None
    assert done == ["steps"] * 4


def test_gates_judge_shares_of_what_was_there(spark, tmp_path):
    job = job_on(spark, tmp_path / "lake", "", DAY1)
    limits = SimpleNamespace(people_changed_max=0.25, members_changed_max=0.5, min_before=4)
    judged = SimpleNamespace(lake=job.lake, as_of=job.as_of, conf=SimpleNamespace(base=SimpleNamespace(gates=limits)))
    assert gates.closed(judged, "resolve") == gates.closed(judged, "audiences") == gates.closed(judged, "kpis") == []
    members = [(f"crm|C{n}", "crm", f"C{n}", f"p{n}", ONE, None) for n in range(4)]
    columns = job.lake.read("identity.members").schema
    job.lake.write("identity.members", spark.createDataFrame(members, columns))
    told = [(job.as_of, "p0", "merged", f"p{n}", job.run_at.replace(tzinfo=None), "r") for n in (2, 3)]
    schema = job.lake.read("identity.changes").schema
    job.lake.write("identity.changes", spark.createDataFrame(told[:1], schema), on=job.as_of)
    assert gates.closed(judged, "resolve") == []
    job.lake.write("identity.changes", spark.createDataFrame(told, schema), on=job.as_of)
    assert "2 of 4 people were merged or split" in gates.closed(judged, "resolve")[0]


@pytest.mark.slow
def test_a_replay_with_a_late_drop_equals_a_punctual_run(spark, tmp_path):
    """Both days ran without day 1's web events; they come, and both days are replayed."""
    drops = write(tmp_path / "drops")
    steps, days_ = between("ingest", "resolve"), (DAY1, DAY2)
    for day in days_:
        run_steps(job_on(spark, tmp_path / "punctual", drops, day), steps)
    shutil.move(drops / "web" / DAY1, tmp_path / "late")
    for day in days_:
        run_steps(job_on(spark, tmp_path / "lake", drops, day), steps)
    assert contents(spark, tmp_path / "lake") != contents(spark, tmp_path / "punctual")
    shutil.move(tmp_path / "late", drops / "web" / DAY1)
    for day in days_:
        run_steps(job_on(spark, tmp_path / "lake", drops, day), steps)
    assert contents(spark, tmp_path / "lake") == contents(spark, tmp_path / "punctual")


@pytest.mark.slow
def test_looks_at_what_is_new_end_in_the_tables_of_one_run(spark, tmp_path):
    """The web events of the day come after the first look."""
    drops, steps = write(tmp_path / "drops"), between(last="resolve")
    run_steps(job_on(spark, tmp_path / "punctual", drops, DAY1), steps)
    folder, later = drops / "web" / DAY1, tmp_path / "later"
    shutil.move(folder, later)
    job = job_on(spark, tmp_path / "lake", drops, DAY1)
    assert look(job, steps) is None
    assert look(job, steps) == ()
    folder.mkdir()
    shutil.move(later / "events.jsonl", folder / "events.jsonl")
    assert look(job, steps) == ("web",)
    assert contents(spark, tmp_path / "lake") == contents(spark, tmp_path / "punctual")


def test_what_is_new():
    known = {"crm": [["a", 1, 2]], "web": [], "shop": ["jdbc"]}
    assert new_sources(known, known) == ("shop",)
    assert new_sources(known, {"crm": [["a", 1, 3]], "web": [["b", 1, 1]], "shop": ["jdbc"]}) == ("crm", "web", "shop")
    assert new_sources(None, {"crm": [], "web": [["b", 1, 1]]}) == ("web",)
