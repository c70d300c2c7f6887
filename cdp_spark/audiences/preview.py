"""What would an audience be, before anything is written? Its size, its funnel, and how its members differ."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import NumericType

from cdp_spark.audiences.build import build, wide
from cdp_spark.job import Job


def preview(job: Job, name: str) -> dict:
    """{"audience", "funnel": {outcome: people}, "profile": [{"column", "members", "everyone"}]}; writes nothing.

    profile: the mean of every number that the audience's condition could read, over treated and held-out members and
    over everybody, the most different first (in standard deviations of everybody).
    """
    built = build(job)
    steps = {r["outcome"]: r["people"] for r in built.funnels.where(F.col("audience") == name).collect()}
    inside = built.members.where(F.col("audience") == name).select("person_id", F.lit(True).alias("_in"))
    people = wide(job, job.conf.audiences[name].scores_max_age_days).join(inside, "person_id", "left")
    return {"audience": name, "funnel": steps, "profile": profile(people)}


def profile(people: DataFrame) -> list[dict]:
    """Mean of each numeric column over the rows with _in, and over all rows; the most different first."""
    columns = [f.name for f in people.schema.fields if isinstance(f.dataType, NumericType)]
    sums = []
    for i, name in enumerate(columns):
        col = F.col(f"`{name}`").cast("double")
        sums += [
            F.avg(F.when(F.col("_in"), col)).alias(f"m{i}"),
            F.avg(col).alias(f"a{i}"),
            F.stddev(col).alias(f"s{i}"),
        ]
    found = people.agg(*sums).first() if sums else {}
    rows = [
        (abs(found[f"m{i}"] - found[f"a{i}"]) / (found[f"s{i}"] or 1.0), name, found[f"m{i}"], found[f"a{i}"])
        for i, name in enumerate(columns)
        if found[f"m{i}"] is not None
    ]
    ordered = sorted(rows, key=lambda row: (-row[0], row[1]))
    return [{"column": name, "members": inside, "everyone": everyone} for _, name, inside, everyone in ordered]
