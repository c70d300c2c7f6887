"""Which products are recommended to whom this week? The better of two methods on the last baskets, as a step."""

from __future__ import annotations

from datetime import date, timedelta
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.models import Conf
from cdp_spark.job import Job
from cdp_spark.silver.time import known_before
from ml import recommend
from ml.people import at_most, orders_of
from ml.stale import mark_stale
from ml.train import training
from ml.weekly import Made, digest, settled, week_is_over

MODEL, METRIC = "recommend", "recall_at_10"
CHAMPION_SCORES = False  # fitted anew for each week's rows
TOP = 10
HELD_OUT_DAYS = 30  # whose first basket of each person is what has to be found
LEAST = 100  # such baskets
MOST = 20_000  # of them that are looked at, a fixed sample of people
RULES = {"own": "own most frequent items", "popular": "most popular items"}


def names(conf: Conf) -> list[str]:
    """What the registry calls this model."""
    return [MODEL]


def recommend_due(job: Job, permitted: DataFrame | None = None) -> None:
    """Write ml.recommendations of the day where they are due and one method beats the baselines on the last baskets."""
    if not week_is_over(job, "ml.recommendations"):
        job.log("recommendations are not due")
        return
    lines = lines_of(orders_of(job, permitted), job.as_of).persist()
    made = chosen(lines, job.as_of, job.conf.base.seed)
    if settled(job, made) is None:
        mark_stale(job, "ml.recommendations")
    else:
        method = made.model["method"]
        rows = best(lines, job.as_of, method, job.conf.base.seed)
        told = {"as_of": F.lit(job.as_of), "method": F.lit(method), "stale": F.lit(False)}
        written = job.lake.write("ml.recommendations", rows.withColumns(told), on=job.as_of)
        job.log(f"{written.rows} items by {method}; recall at {TOP} of the last baskets: {_told(made.model['recall'])}")
    lines.unpersist()


def chosen(lines: DataFrame, as_of: date, seed: int) -> Made:
    """The method that finds most of the last baskets, or why there is none."""
    cut = as_of - timedelta(HELD_OUT_DAYS)
    basket = recommend.next_basket(lines, cut)
    basket = at_most(basket, MOST, salt=5, size=basket.select("person_id").distinct().count()).persist()
    baskets = basket.select("person_id").distinct().count()
    held = {"holdout_rows": baskets, "holdout_positives": baskets, "holdout_on": cut}
    if baskets < LEAST:
        reason = f"{baskets} baskets of the last {HELD_OUT_DAYS} days, {LEAST} are needed"
        return Made(training(as_of, MODEL, METRIC, None, None, None, reason, baskets, baskets) | held)
    found = {row["method"]: row for row in judged(lines, basket, cut, seed)}
    basket.unpersist()
    recall = {name: row["recall"] for name, row in found.items()}
    method, rule = max(("companions", "als"), key=recall.__getitem__), max(RULES, key=recall.__getitem__)
    reason = None if recall[method] > recall[rule] else f"no method beats the {RULES[rule]}: {_told(recall)}"
    row = training(as_of, MODEL, METRIC, recall[method], recall[rule], RULES[rule], reason, baskets, baskets)
    rounded = {name: round(value, 9) for name, value in sorted(recall.items())}
    document = {"method": method, "recall": rounded, "settings": recommend.settings()}
    half = 1.96 * (found[method]["sd"] or 0.0) / baskets**0.5
    notes = [f"recall of each: {_told(recall)}", "people are independent, so the interval is that of a mean"]
    row |= held | {"snapshot_id": digest(document, as_of)}
    return Made(row, document, interval=[recall[method] - half, recall[method] + half], notes=notes)


def _told(recall: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in sorted(recall.items()))


def lines_of(orders: DataFrame, as_of: date) -> DataFrame:
    """Order lines as ml.recommend takes them: person_id, basket, item, day; paid and known before `as_of`."""
    paid = orders.where(known_before(as_of)).where("status = 'paid' AND product_id IS NOT NULL")
    return paid.select(
        "person_id",
        F.col("order_id").alias("basket"),
        F.col("product_id").alias("item"),
        F.to_date("event_time").alias("day"),
    )


def best(lines: DataFrame, as_of: date, method: str, seed: int) -> DataFrame:
    """The TOP items of everybody who bought before `as_of` by one method: person_id, item, score, rank."""
    own = recommend.bought(lines, as_of)
    if method == "als":
        return recommend.by_factors(own, TOP, seed)
    common = recommend.popular(lines, as_of)
    return recommend.recommended(own, recommend.companions(lines, as_of, common), common, TOP)


def judged(lines: DataFrame, basket: DataFrame, cut: date, seed: int) -> list:
    """A row a method and baseline: recall at TOP of the baskets that came next from `cut` on, repeats and new apart."""
    people = F.broadcast(basket.select("person_id").distinct())
    some, common = lines.join(people, "person_id", "left_semi"), recommend.popular(lines, cut).persist()
    own, together = recommend.bought(some, cut), recommend.companions(lines, cut, common)
    most = common.orderBy(F.desc("share"), "item").limit(TOP)
    factors = recommend.by_factors(recommend.bought(lines, cut), TOP, seed)
    tops = {
        "own": recommend.ranked(recommend.bought(some, cut, None), "person_id", TOP, "score", "item"),
        "popular": people.crossJoin(F.broadcast(most)),
        "companions": recommend.recommended(own, together, common, TOP),
        "als": factors.join(people, "person_id", "left_semi"),
    }
    measured = [recommend.recall(basket, top).withColumn("method", F.lit(name)) for name, top in tops.items()]
    rows = reduce(DataFrame.unionByName, measured).collect()
    common.unpersist()
    return rows
