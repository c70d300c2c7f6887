"""Which kinds of customers are there? RFM tiers by rule, and clusters whose labels stay from one run to the next."""

from __future__ import annotations

from datetime import date
from functools import reduce

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from cdp_spark.config.models import Conf
from cdp_spark.job import Job
from ml.measures import drawn
from ml.people import at_most, of_permitted
from ml.stale import mark_stale
from ml.train import training
from ml.weekly import Made, digest, settled, week_is_over

MODEL, METRIC, RULE = "segments", "explained", "fifths of spend_365d"
CHAMPION_SCORES = False  # found anew for each week's rows, from the last week's on
EXPLAINED = "Share of what differs that the clusters explain, by feature"
CLUSTERS = 5
LEAST = 10 * CLUSTERS  # customers
HELD_OUT = 5  # one of so many people is judged on
DRAWS = 100
BY = ("last_order_days", "orders_365d", "spend_365d", "order_value", "visit_days_90d")
FIFTHS = ("recency", "frequency", "money")
MOST = 20_000  # people that clusters are found among, a fixed sample
TIERS = (  # the first that holds; fifths of the customers, 5 the best
    ("champion", "recency >= 4 AND frequency >= 4 AND money >= 4"),
    ("loyal", "frequency >= 4 AND recency >= 3"),
    ("big_spender", "money = 5 AND recency >= 3"),
    ("new", "recency >= 4 AND tenure_days <= 90"),
    ("promising", "recency >= 3"),
    ("at_risk", "frequency >= 3 OR money >= 4"),
    ("lapsed", "true"),
)


def names(conf: Conf) -> list[str]:
    """What the registry calls this model."""
    return [MODEL]


def segment_due(job: Job, permitted: DataFrame | None = None) -> None:
    """Write ml.segments and ml.clusters of the day where they are due and clusters tell more than fifths of spend."""
    wanted = {*BY, "tenure_days"}
    if missing := sorted(wanted - set(job.conf.features)):
        why = f"segments are not made, as conf/features.yml lacks {', '.join(missing)}"
        if mark_stale(job, "ml.segments"):
            job.warn(f"{why}; the last ones stay, as stale")
        else:
            job.log(why)
        return
    if not week_is_over(job, "ml.segments"):
        job.log("segments are not due")
        return
    people = job.lake.read("gold.features").where(F.col("as_of") == F.lit(job.as_of))
    people = people.where("last_order_days IS NOT NULL")
    people = of_permitted(people, permitted)
    made, centers = judged(local(people), before(job), job.as_of, job.conf.base.seed)
    if settled(job, made) is None:
        mark_stale(job, "ml.segments")
        return
    found = tiers(people).join(nearest(people, centers), "person_id")
    found = found.withColumns({"as_of": F.lit(job.as_of), "stale": F.lit(False)})
    job.lake.write("ml.segments", found, on=job.as_of)
    told = [{"as_of": job.as_of, **row} for row in centers.to_dict("records")]
    job.lake.write("ml.clusters", job.spark.createDataFrame(told, job.lake.read("ml.clusters").schema), on=job.as_of)


def judged(rows: pd.DataFrame, earlier: pd.DataFrame | None, as_of: date, seed: int) -> tuple[Made, pd.DataFrame]:
    """Clusters of `rows` (`local`), found among four fifths of them and judged on the rest, or why there are none.

    explained: the share of the features' variance that is between groups. As many groups by spend are the baseline.
    """
    held = np.arange(len(rows)) % HELD_OUT == 0
    learned, other = rows[~held].reset_index(drop=True), rows[held]
    counts = {"holdout_rows": int(held.sum()), "holdout_positives": 0, "holdout_on": as_of}
    if len(rows) < LEAST:
        reason = f"{len(rows)} customers, {LEAST} are needed"
        return Made(training(as_of, MODEL, METRIC, None, None, None, reason, len(rows), 0) | counts), rows
    centers = clustered(learned, earlier, seed)
    ours = explained(other, _which(other, centers))
    fifths = np.quantile(learned["spend_365d"], np.linspace(0, 1, CLUSTERS + 1)[1:-1])
    least = explained(other, np.searchsorted(fifths, other["spend_365d"]))
    again = drawn(len(other), DRAWS, seed)
    spread = [
        explained(some, _which(some, centers))
        for some in (other.iloc[np.repeat(np.arange(len(other)), w)] for w in again)
    ]
    reason = (
        None if ours > least else f"clusters explain {ours:.3f} of what differs, no more than {least:.3f} of {RULE}"
    )
    row = training(as_of, MODEL, METRIC, ours, least, RULE, reason, len(rows), 0) | counts
    document = {"by": list(BY), "clusters": centers.to_dict("records")}
    interval = [float(value) for value in np.quantile(spread, [0.025, 0.975])]
    notes = [f"cluster {one['cluster']} ({one['share']:.0%}): {one['about']}" for one in document["clusters"]]
    about = {"importance": explained_of_each(other, _which(other, centers)), "importance_is": EXPLAINED}
    return Made(
        row | {"snapshot_id": digest(rows, document)}, document, BY, interval, about=about, notes=notes
    ), centers


def _which(rows: pd.DataFrame, centers: pd.DataFrame) -> np.ndarray:
    """Number, from 0, of the center that is nearest to each row, as in `nearest`."""
    scale = np.array(centers["spread"].iloc[0])
    return (((rows.to_numpy()[:, None, :] - np.vstack(centers["center"])) / scale) ** 2).sum(axis=2).argmin(axis=1)


def explained(rows: pd.DataFrame, group: np.ndarray) -> float:
    """Share of the variance of standardised `rows` that lies between the groups."""
    inside, whole = _scatter(rows, group)
    return float(1 - inside.sum() / max(whole.sum(), 1e-12))


def explained_of_each(rows: pd.DataFrame, group: np.ndarray) -> dict[str, float]:
    """`explained` of each column alone, the largest first: what the groups are told apart by."""
    inside, whole = _scatter(rows, group)
    share = 1 - inside / whole.clip(lower=1e-12)
    return {name: float(share[name]) for name in share.sort_values(ascending=False, kind="stable").index if whole[name]}


def _scatter(rows: pd.DataFrame, group: np.ndarray) -> tuple[pd.Series, pd.Series]:
    """Sum of squares within the groups, and of all, of each standardised column."""
    points = ((rows - rows.mean()) / rows.std(ddof=0).replace(0, 1.0)).reset_index(drop=True)
    inside = (points - points.groupby(group).transform("mean")) ** 2
    return inside.sum(), (points**2).sum()


def tiers(people: DataFrame) -> DataFrame:
    """person_id, FIFTHS (of the customers, 5 the best) and rfm_tier (the first of TIERS that holds).

    Fifths are of the values, so that people with equal values are in one fifth. RFM as in Hughes (1994), "Strategic
    Database Marketing".
    """
    shares = F.array(*(F.lit(n / 5) for n in range(1, 5)))
    cuts = people.agg(
        F.percentile(-F.col("last_order_days"), shares).alias("r_cuts"),
        F.percentile("orders_365d", shares).alias("f_cuts"),
        F.percentile("spend_365d", shares).alias("m_cuts"),
    )
    scored = people.crossJoin(F.broadcast(cuts)).withColumns(
        {
            "recency": _fifth(-F.col("last_order_days"), "r_cuts"),
            "frequency": _fifth(F.col("orders_365d"), "f_cuts"),
            "money": _fifth(F.col("spend_365d"), "m_cuts"),
        }
    )
    tier = reduce(lambda rest, one: F.when(F.expr(one[1]), one[0]).otherwise(rest), reversed(TIERS), F.lit(None))
    return scored.select("person_id", *FIFTHS, tier.cast("string").alias("rfm_tier"))


def _fifth(value: Column, cuts: str) -> Column:
    return (F.size(F.filter(cuts, lambda cut: cut < value)) + 1).cast("int")


def scaled(name: str) -> Column:
    """A feature as clusters see it: its logarithm, as counts and sums are skewed; missing or infinite is 0."""
    value = F.when(F.col(name) < F.lit(float("inf")), F.col(name))
    return F.log1p(F.greatest(F.coalesce(value, F.lit(0.0)), F.lit(0.0)))


def local(people: DataFrame) -> pd.DataFrame:
    """Scaled features of at most about MOST people, in the order of their ids."""
    rows = at_most(people, MOST, salt=4).select("person_id", *(scaled(name).alias(name) for name in BY)).toPandas()
    return rows.sort_values("person_id", ignore_index=True)[list(BY)]


def before(job: Job) -> pd.DataFrame | None:
    """The newest clusters of an earlier day; None where there are none."""
    known = job.lake.read("ml.clusters").where(F.col("as_of") < F.lit(job.as_of))
    day = known.agg(F.max("as_of").alias("day")).first()["day"]
    rows = known.where(F.col("as_of") == F.lit(day)) if day else None
    return rows.drop("as_of").toPandas().sort_values("cluster", ignore_index=True) if rows is not None else None


def clustered(rows: pd.DataFrame, earlier: pd.DataFrame | None, seed: int) -> pd.DataFrame:
    """One row per cluster: cluster (1, 2 ...), center (of scaled BY), spread (of each), share, about.

    k-means on standardised features. The search starts from the centers of an earlier run, and what it finds takes
    over the labels of the nearest of them, one each (Kuhn 1955): cluster 3 of today is cluster 3 of last week, moved.
    Without an earlier run, clusters are numbered by spend.
    """
    spread = rows.std(ddof=0).replace(0, 1.0)
    points = ((rows - rows.mean()) / spread).to_numpy()
    known = None if earlier is None or len(earlier) != CLUSTERS else np.vstack(earlier["center"].to_numpy())
    start = "k-means++" if known is None else (known - rows.mean().to_numpy()) / spread.to_numpy()
    with threadpool_limits(1):
        found = KMeans(CLUSTERS, init=start, n_init=10 if known is None else 1, random_state=seed).fit(points)
    centers = found.cluster_centers_ * spread.to_numpy() + rows.mean().to_numpy()
    sizes = np.bincount(found.labels_, minlength=CLUSTERS) / len(rows)
    if known is None:
        order = np.argsort(-centers[:, BY.index("spend_365d")], kind="stable")
    else:
        far = (((centers[:, None, :] - known[None, :, :]) / spread.to_numpy()) ** 2).sum(axis=2)
        ours, theirs = linear_sum_assignment(far)
        order = ours[np.argsort(theirs)]
    return pd.DataFrame(
        {
            "cluster": np.arange(1, CLUSTERS + 1),
            "center": [centers[at].round(9).tolist() for at in order],
            "spread": [spread.round(9).tolist()] * CLUSTERS,
            "share": sizes[order],
            "about": [_about(centers[at], rows, spread) for at in order],
        }
    )


def _about(center: np.ndarray, rows: pd.DataFrame, spread: pd.Series) -> str:
    """The two features in which a cluster differs most from all, in words: `high spend_365d, low last_order_days`."""
    off = (center - rows.mean().to_numpy()) / spread.to_numpy()
    return ", ".join(f"{'high' if off[at] > 0 else 'low'} {BY[at]}" for at in np.argsort(-np.abs(off))[:2])


def nearest(people: DataFrame, centers: pd.DataFrame) -> DataFrame:
    """person_id, cluster: the nearest center of each person; of two equally near, the first."""
    far = [
        reduce(
            lambda total, one: total + one,
            (((scaled(n) - c) / s) ** 2 for n, c, s in zip(BY, row["center"], row["spread"], strict=True)),
        )
        for row in centers.to_dict("records")
    ]
    labels = F.array(*(F.lit(int(number)) for number in centers["cluster"]))
    rows = people.withColumn("_far", F.array(*far))
    return rows.select(
        "person_id", labels[F.array_position("_far", F.array_min("_far")).cast("int") - 1].alias("cluster")
    )
