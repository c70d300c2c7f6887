"""What will somebody buy next? Own purchases that fade with time, then what goes with them, then what is popular."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

HALF_LIFE = 60.0  # days after which a purchase counts half
TOGETHER = 0.01  # weight of what goes with the own items beside a purchase of this very day
PARTNERS = 20  # an item's companions that are kept
USUAL = 30  # own items that companions are looked up for
NUMBERS = 1000  # more than there are items in `popular`
RANK, ROUNDS, CONFIDENCE, PENALTY = 16, 8, 20.0, 0.05  # of ALS


def settings() -> dict[str, float]:
    """What the methods are set to."""
    als = {"als_rank": RANK, "als_rounds": ROUNDS, "als_confidence": CONFIDENCE, "als_penalty": PENALTY}
    return {"half_life": HALF_LIFE, "together": TOGETHER, "partners": PARTNERS, "usual": USUAL, **als}


def bought(lines: DataFrame, as_of: date, half_life: float | None = HALF_LIFE) -> DataFrame:
    """One row per person and item bought before `as_of`: person_id, item, score.

    lines: person_id, basket, item, day. score: baskets with the item, each halved every `half_life` days; None counts
    plainly, which is the baseline "own most frequent" (Li et al. 2023, "A Next Basket Recommendation Reality Check").
    """
    before = lines.where(F.col("day") < F.lit(as_of)).select("person_id", "basket", "item", "day").distinct()
    age = F.datediff(F.lit(as_of), "day").cast("double")
    weight = F.lit(1.0) if half_life is None else F.pow(F.lit(0.5), age / half_life)
    return before.groupBy("person_id", "item").agg(F.sum(weight).alias("score"))


def popular(lines: DataFrame, as_of: date, most: int = 200) -> DataFrame:
    """The items that most people bought before `as_of`: item, share of people."""
    before = lines.where(F.col("day") < F.lit(as_of)).select("person_id", "item").distinct()
    counts = before.groupBy("item").agg(F.count("*").alias("people")).orderBy(F.desc("people"), "item").limit(most)
    return counts.select("item", (F.col("people") / F.max("people").over(Window.partitionBy())).alias("share"))


def companions(lines: DataFrame, as_of: date, items: DataFrame) -> DataFrame:
    """Of each of `items` (popular, a bounded number) the PARTNERS most in the same baskets: item, other, cosine.

    cosine: baskets with both over the root of the product of baskets with each (Sarwar et al. 2001, item-based).
    """
    before = lines.where(F.col("day") < F.lit(as_of)).select("basket", "item").distinct()
    known = before.join(F.broadcast(items.select("item")), "item")
    size = known.groupBy("item").agg(F.count("*").alias("n"))
    pairs = known.join(known.withColumnRenamed("item", "other"), "basket").where("item <> other")
    both = pairs.groupBy("item", "other").agg(F.count("*").alias("both")).join(size, "item")
    both = both.join(size.withColumnRenamed("item", "other").withColumnRenamed("n", "m"), "other")
    scored = both.select("item", "other", (F.col("both") / F.sqrt(F.col("n") * F.col("m"))).alias("cosine"))
    return ranked(scored, "item", PARTNERS, "cosine", "other")


def by_factors(own: DataFrame, top: int, seed: int) -> DataFrame:
    """The `top` items of each person of `own` (`bought`) by implicit ALS: person_id, item, score, rank.

    Hu, Koren & Volinsky (2008), "Collaborative filtering for implicit feedback datasets", as in Spark ML. The rows go
    in from one sorted partition: ALS depends on the order in which they arrive.
    """
    from pyspark.ml.recommendation import ALS

    people, items = (
        own.select(name).distinct().withColumn(f"_{name}", F.row_number().over(Window.orderBy(name)))
        for name in ("person_id", "item")
    )
    people, items = people.persist(), items.persist()
    rows = own.join(people, "person_id").join(F.broadcast(items), "item").select("_person_id", "_item", "score")
    rows = rows.coalesce(1).sortWithinPartitions("_person_id", "_item")
    learner = ALS(rank=RANK, maxIter=ROUNDS, implicitPrefs=True, alpha=CONFIDENCE, regParam=PENALTY, seed=seed)
    learner = learner.setUserCol("_person_id").setItemCol("_item").setRatingCol("score").setNumBlocks(4)
    best = learner.fit(rows).recommendForAllUsers(top)
    found = best.select("_person_id", F.explode("recommendations").alias("one"))
    score = F.round(F.col("one.rating").cast("double"), 5).alias("score")
    named = found.select("_person_id", "one._item", score).join(people, "_person_id").join(F.broadcast(items), "_item")
    top_ones = ranked(named.select("person_id", "item", "score"), "person_id", top, "score", "item")
    return top_ones.withColumn("reason", F.lit("liked by people with such baskets"))


def recommended(own: DataFrame, together: DataFrame, common: DataFrame, top: int) -> DataFrame:
    """The `top` items of each person of `own`: person_id, item, score, rank (1 the best), ties by item, and reason."""
    lately = ranked(own, "person_id", USUAL, "score", "item")
    numbers = common.select("item", F.row_number().over(Window.orderBy("item")).alias("_n"))  # bounded, as `popular`
    near = lately.join(F.broadcast(together.join(F.broadcast(numbers), "item")), "item")
    adds = F.col("score") * F.col("cosine")
    # the most of them and its number as one long: a maximum of text would be sorted for
    near = near.groupBy("person_id", F.col("other").alias("item")).agg(
        (F.sum(adds) * TOGETHER).alias("score"),
        F.max(F.round(F.least(adds, F.lit(1e6)) * 1e6).cast("long") * NUMBERS + F.col("_n")).alias("_with"),
    )
    everybody = own.select("person_id").distinct().crossJoin(F.broadcast(common))
    everybody = everybody.select("person_id", "item", (F.col("share") * TOGETHER * TOGETHER).alias("score"))
    mine, none = F.lit(True).alias("_own"), F.lit(None)
    parts = (
        own.select("person_id", "item", "score", mine, none.cast("long").alias("_with"))
        .unionByName(near.withColumn("_own", none.cast("boolean")))
        .unionByName(everybody.withColumns({"_own": none.cast("boolean"), "_with": none.cast("long")}))
    )
    whole = parts.groupBy("person_id", "item").agg(
        F.sum("score").alias("score"), F.max("_own").alias("_own"), F.max("_with").alias("_with")
    )
    best = ranked(whole, "person_id", top, "score", "item").withColumn("_n", F.pmod("_with", F.lit(NUMBERS)))
    named = best.join(F.broadcast(numbers.withColumnRenamed("item", "_partner")), "_n", "left")
    with_it = F.concat(F.lit("bought with "), F.col("_partner"))
    reason = F.when(F.col("_own"), "bought before").otherwise(F.coalesce(with_it, F.lit("popular")))
    return named.select("person_id", "item", "score", "rank", reason.alias("reason"))


def ranked(rows: DataFrame, of: str, top: int, score: str, tie: str) -> DataFrame:
    """The `top` rows of each `of` by score, rounded so that the order of a sum does not decide, with their rank."""
    order: list[Column] = [F.desc(F.round(score, 9)), F.col(tie)]
    numbered = rows.withColumn("rank", F.row_number().over(Window.partitionBy(of).orderBy(*order)))
    return numbered.where(F.col("rank") <= top)


def next_basket(lines: DataFrame, as_of: date) -> DataFrame:
    """Items of each person's first basket on or after `as_of`: person_id, item, known (bought before)."""
    first = Window.partitionBy("person_id").orderBy("day", "basket")
    later = lines.where(F.col("day") >= F.lit(as_of)).withColumn("_first", F.first("basket").over(first))
    basket = later.where("basket = _first").select("person_id", "item").distinct()
    before = lines.where(F.col("day") < F.lit(as_of)).select("person_id", "item").distinct()
    people = before.select("person_id").distinct()
    known = before.withColumn("known", F.lit(True))
    found = basket.join(people, "person_id").join(known, ["person_id", "item"], "left")
    return found.select("person_id", "item", F.coalesce("known", F.lit(False)).alias("known"))


def recall(basket: DataFrame, top: DataFrame) -> DataFrame:
    """One row: mean over people of the share of their next basket in `top`; repeats and new items apart; its sd."""
    hits = basket.join(top.select("person_id", "item", F.lit(1).alias("hit")), ["person_id", "item"], "left")
    hit, known = F.coalesce("hit", F.lit(0)), F.col("known")
    each = hits.groupBy("person_id").agg(
        F.avg(hit).alias("recall"),
        F.avg(F.when(known, hit)).alias("repeat"),
        F.avg(F.when(~known, hit)).alias("explore"),
    )
    means = (F.avg(name).alias(name) for name in ("recall", "repeat", "explore"))
    return each.agg(F.count("*").alias("people"), *means, F.stddev_samp("recall").alias("sd"))
