"""From which past moments does a model learn, and on whom is it judged? Snapshots in time, folds of people."""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from functools import reduce
from types import ModuleType
from typing import NamedTuple

import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from cdp_spark.config.load import ConfError
from cdp_spark.config.source import Feature
from cdp_spark.gold.people import heirs, then
from cdp_spark.silver.time import known_before
from ml.people import at_most
from ml.spec import ModelSpec

EARLIER = 3  # training snapshots before the held-out one
STEP_DAYS = 30
FOLDS = 5
ROUNDS = 3  # in which the folds of who was split off and merged become one
HELD_OUT = 4  # the fold whose people are never trained on, in no training ever
MAX_ROWS = 1_000_000  # learned from on one machine; of more, a fixed sample of people


class Examples(NamedTuple):
    """train: earlier snapshots, people of the other folds. holdout: the newest snapshot, people held out.

    features: what there is to learn from; a feature with one value only, or none, in the training rows is left out.
    rows: the same rows in Spark with person_id and snapshot_on, for the record; id: hash of what was learned from.
    """

    train: pd.DataFrame
    holdout: pd.DataFrame
    features: list[str]
    rows: DataFrame | None = None
    id: str = ""


def snapshots(spec: ModelSpec, as_of: date) -> list[date]:
    """Dates to learn from, newest first: the newest whose label is fully observed before `as_of`, then earlier ones."""
    newest = spec.observed(as_of)
    return [newest - timedelta(STEP_DAYS * n) for n in range(EARLIER + 1)]


def allowed(people: DataFrame, members: DataFrame, permitted: DataFrame | None) -> DataFrame:
    """`people` (person_id of any date) of whom all that they are today is in `permitted`; None: no consent applies.

    Permission is judged today and can only remove: who was later merged with or split into somebody who says no goes.
    """
    if permitted is None:
        return people
    now = heirs(members).join(
        permitted.select(F.col("person_id").alias("now"), F.lit(True).alias("yes")), "now", "left"
    )
    agreed = now.groupBy("person_id").agg(F.bool_and(F.coalesce("yes", F.lit(False))).alias("yes")).where("yes")
    return people.join(agreed, "person_id", "left_semi")


def labelled(model: ModuleType, known: DataFrame, orders: DataFrame, names: list[str], as_of: date) -> DataFrame:
    """One row per eligible person and snapshot: person_id, as_of (the snapshot), label, fold, features `names`.

    known: `features` of at least the snapshots' dates, which see what was known before their date; and `with_fold`.
    orders: rows of silver.orders with `history`; labels are of who a row's person was on the snapshot, and see what is
    known before `as_of`.
    """
    dates = snapshots(model.SPEC, as_of)
    known = known.where(F.col("as_of").isin(dates)).where(model.SPEC.eligible)
    orders = orders.where(known_before(as_of))
    labels = [
        model.label(orders.withColumn("person_id", then(day)).where("person_id IS NOT NULL"), day).withColumn(
            "as_of", F.lit(day)
        )
        for day in dates
    ]
    joined = known.join(reduce(DataFrame.unionByName, labels), ["person_id", "as_of"], "left")
    label = F.coalesce("label", F.lit(model.SPEC.absent).cast("int")).alias("label")
    number = F.col("fold") if "fold" in known.columns else fold().alias("fold")
    found = joined.select("person_id", "as_of", label, number, *names)
    return found.where("label IS NOT NULL")


def fold():
    """The person's fold, 0 to FOLDS - 1: a hash of the id, so that it never changes."""
    return F.pmod(F.xxhash64("person_id"), F.lit(FOLDS)).cast("int")


def with_fold(people: DataFrame, members: DataFrame) -> DataFrame:
    """`people` (person_id of any date) with fold: the least of those of all ids that their records have ever had.

    Who was two before a merge is in one fold, and held out (the greatest) only where no training ever saw one of them.
    A split keeps together whom it parts. The least fold goes from one current person to another ROUNDS times: ids with
    more splits and merges than that between them may be in two folds.
    """
    known = heirs(members).withColumn("fold", fold())
    for by in ("now", "person_id") * ROUNDS:
        known = known.withColumn("fold", F.min("fold").over(Window.partitionBy(by)))
    folds = known.groupBy("person_id").agg(F.min("fold").alias("fold"))
    return people.join(folds, "person_id", "left").withColumn("fold", F.coalesce("fold", fold()))


def feature_names(spec: ModelSpec, specs: dict[str, Feature]) -> list[str]:
    """The columns a model learns from, in the order of conf/features.yml: none that is declared sensitive.

    Raises ConfError for a feature that the model names and that is unknown or sensitive.
    """
    if spec.features == "all":
        return [name for name, feature in specs.items() if not feature.sensitive]
    if unknown := [name for name in spec.features if name not in specs]:
        raise ConfError([f"ml/models/{spec.name}.py: no features {unknown} in conf/features.yml"])
    if named := [name for name in spec.features if specs[name].sensitive]:
        raise ConfError([f"ml/models/{spec.name}.py: features {named} are sensitive; no model learns from them"])
    return list(spec.features)


def examples(rows: DataFrame, spec: ModelSpec, names: list[str], as_of: date) -> Examples:
    """`rows` of `labelled` on this machine, split by time and by people; person_id and dates stay behind in Spark."""
    held = (F.col("as_of") == F.lit(spec.observed(as_of))) & (F.col("fold") == HELD_OUT)
    learned = (F.col("as_of") < F.lit(spec.observed(as_of))) & (F.col("fold") != HELD_OUT)
    chosen = rows.withColumn("part", F.when(held, "holdout").when(learned, "train")).where("part IS NOT NULL")
    chosen = chosen.persist()
    kept = _sampled(chosen).persist()
    local = kept.select("part", "label", "fold", *names).toPandas()
    chosen.unpersist()
    parts = {part: local[local["part"] == part].drop(columns="part") for part in ("train", "holdout")}
    telling = [name for name in names if parts["train"][name].nunique(dropna=False) > 1]
    return Examples(parts["train"], parts["holdout"], telling, kept, _hash(parts, telling))


def _sampled(rows: DataFrame) -> DataFrame:
    # learners depend on the order: a second training is equal
    return at_most(rows, MAX_ROWS, salt=1).orderBy("part", "as_of", "person_id")


def _hash(parts: dict[str, pd.DataFrame], names: list[str]) -> str:
    digest = hashlib.sha256(",".join(names).encode())
    for part in ("train", "holdout"):
        digest.update(pd.util.hash_pandas_object(parts[part][["label", *names]], index=False).to_numpy().tobytes())
    return digest.hexdigest()[:16]


def record(found: Examples, model: str, names: list[str], as_of: date) -> DataFrame:
    """Rows of ml.examples: what one model was trained and judged on, under the id that its MLflow run names."""
    values = F.map_from_arrays(F.array(*(F.lit(name) for name in names)), F.array(*names))
    return found.rows.select(
        F.lit(found.id).alias("snapshot_id"),
        F.lit(model).alias("model"),
        F.lit(as_of).alias("trained_on"),
        "person_id",
        F.col("as_of").alias("snapshot_on"),
        "part",
        "label",
        values.alias("features"),
    )


def read_back(kept: DataFrame, snapshot_id: str, names: list[str]) -> pd.DataFrame:
    """A training set of ml.examples on this machine: part, label and features `names`, in the order it was learned."""
    rows = kept.where(F.col("snapshot_id") == snapshot_id).orderBy("part", "snapshot_on", "person_id")
    return rows.select("part", "label", *(F.col("features")[name].alias(name) for name in names)).toPandas()
