"""Which days does a run make, may it publish, and does a replay end in the tables of a punctual one?"""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner
from pyspark.sql import functions as F

from cdp_spark import runner
from cdp_spark.config.models import Gates
from cdp_spark.governance import gates
from cdp_spark.governance.publish import publication
from cdp_spark.marks import unfit, warnings
from cdp_spark.pipeline import Step, between
from cdp_spark.ranges import refuse_broken_off
from cdp_spark.runner import RunError, dated, days, refuse_older, refuse_rewind, run_steps
from cdp_spark.sources import ingest
from cdp_spark.watch import look, new_sources
from tests.drops import DAY1, DAY2, write
from tests.forty import put
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


def test_a_missed_week_is_told_by_its_drops_with_what_to_do(tmp_path, monkeypatch):
    """Airflow runs only the newest of the days that it has missed; a day without drops, as a holiday, is none."""
    sources = {"crm": SimpleNamespace(path="crm/{date}/*.csv"), "fixed": SimpleNamespace(path="fixed/*.csv"),
               "shop": SimpleNamespace(path="")}  # fmt: skip
    job = SimpleNamespace(spark=None, date=TWO, drops="drops", conf=SimpleNamespace(sources=sources))
    there = {f"drops/crm/2026-01-{day}/*.csv": ["x"] for day in (25, 26, 29, 30)} | {"drops/fixed/*.csv": ["x"]}
    monkeypatch.setattr(ingest, "Storage", lambda _: SimpleNamespace(files=lambda uri: there.get(uri, [])))
    assert ingest.missed(job, None) is None and ingest.missed(job, ONE) is None
    told = ingest.missed(job, date(2026, 1, 25))
    assert told.startswith("drops of 3 days from 2026-01-26 to 2026-01-30 were never landed")
    assert "--from-date 2026-01-26 --to-date 2026-01-31" in told
    there.clear()
    assert ingest.missed(job, date(2025, 1, 1)) is None


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
    published(job, TWO)
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


def published(job, day: date) -> None:
    row = (f"r{day}", day, job.run_at.replace(tzinfo=None), "published", "h", None, {}, [], [])
    schema = job.lake.read("governance.runs").schema
    job.lake.write("governance.runs", job.spark.createDataFrame([row], schema))


def test_a_job_may_ask_for_the_newest_published_day(spark, tmp_path):
    job = job_on(spark, tmp_path / "lake", "", date(2026, 1, 25))
    with pytest.raises(RunError, match="nothing was ever published"):
        dated(job, "published")
    for day in (TWO, ONE):
        published(job, day)
    assert dated(job, "published").date == TWO  # a week after the job's own: it would be refused
    with pytest.raises(RunError, match="is published already"):
        dated(job, "2026-01-25")


def test_a_range_that_was_broken_off_must_be_finished(spark, tmp_path, monkeypatch):
    def step(job, steps, accept):
        if job.date == TWO and not mended:
            raise RunError("broken", 3)

    mended, after, every = [], date(2026, 2, 1), between()
    one, two, next_one = (job_on(spark, tmp_path / "lake", "", day) for day in (ONE, TWO, after))
    monkeypatch.setattr(runner, "_in_order", step)
    run_steps(one, every, days=(ONE, TWO, after))
    with pytest.raises(RunError, match="broken"):
        run_steps(two, every, days=(ONE, TWO, after))
    for days_, steps in (([after], every), ([TWO], every), ([TWO, after], between("resolve")), ([TWO, after], STEPS)):
        with pytest.raises(RunError, match="--from-date 2026-01-31 --to-date 2026-02-01") as told:
            refuse_broken_off(two, days_, steps)
        assert told.value.exit_code == 2
    refuse_broken_off(two, [TWO, after], every)
    mended.append(True)
    run_steps(two, every, days=(TWO, after))
    with pytest.raises(RunError, match="--from-date 2026-01-31"):
        refuse_broken_off(next_one, [date(2026, 2, 2)], every)
    run_steps(next_one, every, days=(TWO, after))
    refuse_broken_off(next_one, [date(2026, 2, 2)], every)


def test_a_day_alone_and_steps_that_publish_nothing_are_no_range(spark, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_in_order", lambda *_: [])
    job = job_on(spark, tmp_path / "lake", "", ONE)
    run_steps(job, between(), days=(ONE,))
    run_steps(job, between(last="resolve"), days=(ONE, TWO))
    refuse_broken_off(job, [TWO], between())


def limited(job):
    """The job with limits that four people can reach."""
    limits = Gates(people_changed_max=0.25, members_changed_max=0.5, min_before=2)
    base = job.conf.base.model_copy(update={"gates": limits})
    return replace(job, conf=job.conf.model_copy(update={"base": base}))


def members_of(job, *rows: tuple) -> None:
    """identity.members: (key, person, valid from, valid to)."""
    full = [(f"crm|{key}", "crm", key, *rest) for key, *rest in rows]
    schema = job.lake.read("identity.members").schema
    job.lake.write("identity.members", job.spark.createDataFrame(full, schema))


def spoken(job, word: str | None) -> None:
    """identity.runs of the job's day, with why changed rules may hold."""
    row = (job.as_of, job.run_id, job.run_at.replace(tzinfo=None), "rules", {"identity.members": 1}, {}, word, None)
    frame = job.spark.createDataFrame([row], job.lake.read("identity.runs").schema)
    job.lake.write("identity.runs", frame, on=job.as_of)


def test_a_gate_judges_people_against_the_published_run(spark, tmp_path):
    one, two = (limited(job_on(spark, tmp_path / "lake", "", day)) for day in (ONE, TWO))
    assert [gates.closed(one, step) for step in ("resolve", "audiences", "kpis")] == [[], [], []]
    published(one, date(2026, 1, 29))
    first = [(f"C{n}", f"p{n}", ONE, None) for n in range(4)]
    members_of(one, *first)
    assert gates.closed(one, "resolve") == []
    moved = [(f"C{n}", f"p{n}", ONE, one.as_of) for n in (2, 3)] + [(f"C{n}", "p0", one.as_of, None) for n in (2, 3)]
    members_of(one, *first[:3], ("C3", "p3", ONE, one.as_of), ("C3", "p0", one.as_of, None))
    assert gates.closed(one, "resolve") == []  # one of four: as many as may be
    members_of(one, *first[:2], *moved)
    assert "2 of 4 people were merged or split since 2026-01-30" in gates.closed(one, "resolve")[0]
    # whoever spoke for other rules has looked at what they do, also where the day's own run came a day late
    for word, shut in (("within the thresholds, though no plan stands", True), ("by ann: one phone", False)):
        spoken(one, word)
        assert [bool(gates.closed(job, "resolve")) for job in (one, two)] == [shut, shut]
    spoken(one, None)
    # the gate kept it back: the next day is not judged by it, though nothing changed on that day
    assert "2 of 4 people" in gates.closed(two, "resolve")[0]
    published(one, ONE)
    assert gates.closed(two, "resolve") == []


def test_a_gate_judges_members_against_the_published_run(spark, tmp_path):
    one, two = (limited(job_on(spark, tmp_path / "lake", "", day)) for day in (ONE, TWO))
    published(one, date(2026, 1, 29))
    new = [("vip", f"p{n}", one.as_of, None) for n in range(2, 4)]
    rows = [("vip", "p0", ONE, None), ("vip", "p1", ONE, None), *new]
    frame = spark.createDataFrame(rows, "audience string, person_id string, since date, left date")
    put(one.lake, "activation.members", frame.withColumn("arm", F.lit("treatment")))
    for job in (one, two):
        told = gates.closed(job, "audiences")
        assert "audience vip went from 2 to 4 members since 2026-01-30" in told[0]
        assert "withdrawn" in told[-1]
    published(one, ONE)
    assert gates.closed(two, "audiences") == []


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


def said(job) -> dict:
    """Who is one person, and every row of silver and of the profiles: all but ids and the order of landing."""
    found, people = {}, {}
    for row in job.lake.read("identity.members").where("valid_to IS NULL").collect():
        people.setdefault(row.person_id, set()).add(row.subject_key)
    for name in ("silver.customers", "silver.events", "silver.orders", "silver.identifiers", "gold.profiles"):
        rows = job.lake.read(name).drop("landing", "person_id")
        found[name] = sorted(row.j for row in rows.select(F.to_json(F.struct(*rows.columns)).alias("j")).collect())
    return found | {"people": sorted(sorted(keys) for keys in people.values())}


@pytest.mark.slow
def test_a_missed_day_made_later_ends_as_if_it_had_been_punctual(spark, tmp_path):
    """Day 3 was run without day 2, then both: what is newest goes by the day, whatever was landed last."""
    drops, day3 = write(tmp_path / "drops"), "2026-02-01"
    shutil.copytree(drops / "crm" / DAY1, drops / "crm" / day3)  # C4 goes back to its old address, C7 is deleted
    ended = []
    for name, order in (("punctual", (DAY1, DAY2, day3)), ("missed", (DAY1, day3, DAY2, day3))):
        for day in order:
            job = job_on(spark, tmp_path / name, drops, day)
            run_steps(job, between(last="profile"))
        ended.append(said(job))
    assert ended[0] == ended[1]
    assert "ann.other@example.com" in "".join(ended[0]["gold.profiles"])


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
