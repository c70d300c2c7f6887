"""Does a champion still know its world? Drift of features and scores, and how its probabilities came true."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from types import ModuleType
from typing import TYPE_CHECKING

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.gold.people import then, with_history
from cdp_spark.job import Job
from cdp_spark.silver.time import known_before
from ml import drift
from ml.card import watching
from ml.keep import registry
from ml.people import at_most
from ml.spec import ModelSpec
from ml.tracking import RegistryError

if TYPE_CHECKING:
    from ml.score import Champion

MOST = 50_000  # people that drift is measured on, a fixed sample: more say nothing new
LEAST = 200  # people that a realised share is told for


def watch(
    job: Job, modules: dict[str, ModuleType], people: DataFrame, scored: DataFrame, ready: list[Champion]
) -> list[dict]:
    """Rows of ml.monitoring of the day, as `noted`.

    A model without memory is not watched. people: gold.features of the day; scored: ml.scores of the day.
    """
    watched = [one for one in ready if "bins" in one.memory]
    if not watched:
        return []
    wanted = dict.fromkeys(name for one in watched for name in one.wanted)
    some = at_most(people.select("person_id", *wanted), MOST, salt=2)
    rows = some.join(scored.select("person_id", "model", "score"), "person_id")
    local, found = rows.drop("person_id").toPandas(), []
    for one in watched:
        theirs = local[local["model"] == one.spec.name]
        lines = drifted(theirs[one.wanted].assign(**{drift.SCORE: theirs["score"]}), one.memory["bins"])
        lines += realised(job, modules[one.spec.name], one.memory)
        found += noted(job, one.spec.name, one.version, lines)
    return found


def noted(job: Job, model: str, version: str, lines: list[dict]) -> list[dict]:
    """`lines` as rows of ml.monitoring; an alarm is a warning as well, and the picture goes to the version."""
    for line in (line for line in lines if line["alarm"]):
        job.warn(f"{model}: {line['kind']} {line['name']} has moved: {_told(line)}")
    try:
        registry(job).attach(model, version, f"monitoring/{job.as_of}.png", watching(lines))
    except RegistryError as error:
        job.warn(f"{model}: {error}")
    return [{"as_of": job.as_of, "model": model, "version": version} | line for line in lines]


def write_watched(job: Job, rows: list[dict], models: Collection[str]) -> None:
    """Write ml.monitoring of the day: `rows` in place of those of `models`; those of other models stay."""
    others = job.lake.read("ml.monitoring").where(F.col("as_of") == F.lit(job.as_of))
    others = others.where(~F.col("model").isin(list(models)))
    watched = job.spark.createDataFrame(rows, others.schema)
    job.lake.write("ml.monitoring", watched.unionByName(others), on=job.as_of)


def _told(line: dict) -> str:
    return f"PSI {line['psi']:.2f}" if line["psi"] is not None else f"{line['expected']:.3f} -> {line['found']:.3f}"


def drifted(local: pd.DataFrame, bins: dict, people: int | None = None) -> list[dict]:
    """One line a feature, and one for the score: PSI against the bins, alarm above drift.ALARM.

    people: where a person has several rows, whom luck is counted by.
    """
    found = []
    for name in [name for name in local.columns if name in bins]:
        value = drift.psi(bins[name], local[name].astype("float64"), people)
        kind, called = ("score", "score") if name == drift.SCORE else ("feature", name)
        found.append(_line(kind, called, len(local), value > drift.ALARM, psi=value))
    return found


def realised(job: Job, module: ModuleType, memory: dict) -> list[dict]:
    """The newest scores whose labels are known by now: the share of positives, and by tenths beside the probability."""
    spec = module.SPEC
    past = job.lake.read("ml.scores").where(
        (F.col("model") == spec.name) & (F.col("as_of") <= F.lit(spec.observed(job.as_of)))
    )
    day = past.agg(F.max("as_of").alias("day")).first()["day"]
    if day is None:
        return []
    orders = with_history(job.lake.read("silver.orders"), job.lake.read("identity.members"))
    orders = orders.withColumn("person_id", then(day)).where("person_id IS NOT NULL")
    labels = module.label(orders.where(known_before(job.as_of)), day)
    tenths = came_true(past.where(F.col("as_of") == F.lit(day)), labels, spec)
    return against_labels(day, tenths, memory)


def against_labels(day: date, tenths: list[dict], memory: dict) -> list[dict]:
    """Lines of `by_tenth` of the scores of `day`: the label's share beside the training's, then each tenth."""
    rows = sum(tenth["rows"] for tenth in tenths)
    if rows < LEAST:
        return []
    now = sum(tenth["rows"] * tenth["found"] for tenth in tenths) / rows
    shifted = drift.prior_shift(memory["share"], memory["rows"], now, rows)
    lines = [_line("label", f"of {day}", rows, shifted, expected=memory["share"], found=now)]
    for tenth in tenths:
        said, seen = tenth["expected"], tenth["found"]
        off, name = drift.prior_shift(said, rows, seen, tenth["rows"]), f"tenth {tenth['tenth']} of {day}"
        lines.append(_line("realised", name, tenth["rows"], off, expected=said, found=seen))
    return lines


def came_true(scored: DataFrame, labels: DataFrame, spec: ModelSpec) -> list[dict]:
    """By tenth of percentile (1 the highest): rows, mean probability, share of positives."""
    label = F.coalesce("label", F.lit(spec.absent).cast("int"))
    joined = scored.join(labels, "person_id", "left").withColumn("label", label).where("label IS NOT NULL")
    return by_tenth(joined)


def by_tenth(labelled: DataFrame) -> list[dict]:
    """By tenth of `percentile` (1 the highest): rows, mean `score`, mean `label`."""
    tenth = F.least(F.lit(10), F.floor((1 - F.col("percentile")) * 10) + 1).cast("int").alias("tenth")
    found = labelled.groupBy(tenth).agg(
        F.count("*").alias("rows"), F.avg("score").alias("expected"), F.avg("label").alias("found")
    )
    return [row.asDict() for row in found.orderBy("tenth").collect()]


def _line(kind: str, name: str, rows: int, alarm: bool, psi=None, expected=None, found=None) -> dict:
    return {"kind": kind, "name": name, "psi": psi, "expected": expected, "found": found, "rows": rows, "alarm": alarm}
