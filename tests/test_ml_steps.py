"""The weekly steps: values, segments, interests, recommendations, effects; reruns are equal, nothing is from later."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from cdp_spark.config.models import Decision
from cdp_spark.gold.features import features, inputs
from ml import clv, recommend, score
from ml.keep import registry
from ml.models import clv as value
from ml.models import interests, segments
from ml.models import recommend as baskets
from ml.models import uplift as effects
from ml.spec import applicable
from ml.watch_interests import realised_interests
from tests.shop import AS_OF, job_on, padded, shop
from tests.tables import table


@pytest.fixture(scope="module")
def week(spark, conf, tmp_path_factory):
    """A job whose lake has been through all weekly steps once."""
    from cdp_spark.lake import Lake

    lake = Lake(spark, str(tmp_path_factory.mktemp("week") / "lake"), conf.tables, run_id="test", step="test")
    shop(spark, lake, n=700)
    job = job_on(spark, lake, conf)
    known = inputs(job)
    found = features(known.frames, conf.features, [AS_OF], known.people, known.households)
    lake.write("gold.features", found, on=AS_OF)
    run(job)
    return job


def run(job) -> None:
    patch = pytest.MonkeyPatch()
    patch.setattr(interests, "LEAST", 20)  # of a small shop
    for step in (value.value_due, segments.segment_due, interests.interest_due, baskets.recommend_due):
        step(job)
    patch.undo()


def rows(job, name: str) -> pd.DataFrame:
    keys = list(job.lake.contract(name).key)
    return job.lake.read(name).toPandas().sort_values(keys, ignore_index=True)


def test_every_step_beats_its_rule_and_a_rerun_changes_nothing(week):
    told = rows(week, "ml.trainings").set_index("model")
    assert set(told.index) == {"clv", "interests", "recommend", "segments"} and told["promoted"].all(), list(
        told["reason"]
    )
    assert told.loc["clv", "value"] < told.loc["clv", "baseline"]
    more = told.loc[["interests", "recommend", "segments"]]
    assert (more["value"] > more["baseline"]).all()
    tables = ("ml.values", "ml.segments", "ml.clusters", "ml.interests", "ml.recommendations")
    before = {name: rows(week, name) for name in (*tables, "ml.trainings")}
    day = week.lake.read("silver.orders").first()["ingest_date"]
    week.lake.write("silver.orders", week.lake.read("silver.orders").orderBy(F.desc("record_id")), on=day)
    run(week)  # the same day again, the rows in another order
    for name in before:
        pd.testing.assert_frame_equal(rows(week, name), before[name])
    later = replace(week, date=week.date + timedelta(6))
    run(later)  # not due before a week is over
    days = {name: week.lake.read(name).select("as_of").distinct().count() for name in tables}
    assert days == dict.fromkeys(tables, 1)


def test_values_are_those_of_the_formulas(week):
    found, orders = rows(week, "ml.values"), week.lake.read("silver.orders").toPandas()
    who = orders["subject_key"].str.replace("shop|user_id:", "p", regex=False)
    paid = {"customer": who, "day": orders["event_time"].dt.normalize(), "value": orders["amount"].round(6)}
    base = pd.DataFrame(paid)
    mine = clv.customers(base, pd.Timestamp(week.date), value.UNIT)
    model, spend = clv.bg_nbd(mine.sort_index()), clv.gamma_gamma(mine.sort_index())
    expected = clv.expected_purchases(model, mine, value.HORIZON_DAYS / value.UNIT)
    assert list(found["person_id"]) == sorted(mine.index)
    found = found.set_index("person_id").loc[mine.index]
    assert found["expected_orders"].to_numpy() == pytest.approx(expected, rel=1e-3)
    assert found["clv"].to_numpy() == pytest.approx(expected * clv.expected_value(spend, mine), rel=1e-3)
    told = found["reasons"].dropna()  # of the highest tenth, what lowers the worth where it is as most people have it
    assert told.index.isin(found["clv"].nlargest(len(told)).index).all() and 0.05 < len(told) / len(found) < 0.15
    usual = mine["x"].median()
    for person, reasons in told.items():
        if again := [one for one in reasons if one.startswith("orders_again ")]:
            assert float(again[0].split()[1]) == mine.loc[person, "x"] > usual
    assert any(told.apply(len)) and found["selected"].isna().all()  # no rule in conf/base.yml


def test_tiers_are_fifths_of_the_customers(week):
    found = rows(week, "ml.segments").set_index("person_id")
    known = week.lake.read("gold.features").where("last_order_days IS NOT NULL").toPandas().set_index("person_id")
    cuts = np.quantile(-known["last_order_days"], [0.2, 0.4, 0.6, 0.8])
    fifth = 1 + (cuts[None, :] < -known["last_order_days"].to_numpy()[:, None]).sum(axis=1)
    assert (found.loc[known.index, "recency"].to_numpy() == fifth).all()
    best = found["rfm_tier"] == "champion"
    assert best.any() and (found.loc[best, list(segments.FIFTHS)] >= 4).all(axis=None)
    assert set(found["cluster"]) == {1, 2, 3, 4, 5}


def test_clusters_keep_their_labels_when_people_change(week):
    people = week.lake.read("gold.features").where("last_order_days IS NOT NULL")
    local = segments.local(people)
    first = segments.clustered(local, None, seed=1)
    spend = [center[segments.BY.index("spend_365d")] for center in first["center"]]
    assert spend == sorted(spend, reverse=True)
    moved = local + np.random.default_rng(3).normal(0, 0.1, local.shape) * local.std().to_numpy()
    again = segments.clustered(moved, first.sample(frac=1, random_state=2).sort_values("cluster", ignore_index=True), 1)
    own = segments.clustered(moved, None, seed=99)
    assert (near(local, first) == near(local, again)).mean() > 0.85
    assert own["about"].str.contains("high|low").all()


def near(points: pd.DataFrame, centers: pd.DataFrame) -> np.ndarray:
    pairs = zip(centers["center"], centers["spread"], strict=True)
    return np.argmin([(((points - center) / spread) ** 2).sum(axis=1) for center, spread in pairs], axis=0)


def test_recommendations_follow_what_goes_together_and_see_nothing_later(spark):
    lines = table(spark, """
        person_id string | basket string | item string | day date
        ann              | a1            | tea         | 2026-01-01
        ann              | a1            | cake        | 2026-01-01
        bob              | b1            | tea         | 2026-01-02
        bob              | b1            | cake        | 2026-01-02
        bob              | b1            | tea         | 2026-01-02
        cyd              | c1            | rope        | 2026-01-03
        dan              | d1            | tea         | 2026-01-20
        dan              | d2            | milk        | 2026-02-01
        ann              | a2            | tea         | 2026-02-02
        ann              | a2            | rope        | 2026-02-02
        ann              | a3            | cake        | 2026-02-03
    """)  # fmt: skip
    own = {(r["person_id"], r["item"]): r["score"] for r in recommend.bought(lines, AS_OF, 31.0).collect()}
    assert own[("ann", "tea")] == pytest.approx(0.5) and ("dan", "milk") not in own
    common = recommend.popular(lines, AS_OF)
    assert [tuple(r) for r in common.orderBy(F.desc("share"), "item").collect()][:2] == [("tea", 1.0), ("cake", 2 / 3)]
    together = {(r["item"], r["other"]): r["cosine"] for r in recommend.companions(lines, AS_OF, common).collect()}
    assert together == {("tea", "cake"): pytest.approx(2 / 6**0.5), ("cake", "tea"): pytest.approx(2 / 6**0.5)}
    top = recommend.recommended(
        recommend.bought(lines, AS_OF), recommend.companions(lines, AS_OF, common), common, 2
    ).collect()
    found = {(r["person_id"], r["rank"]): r["item"] for r in top}
    assert found[("dan", 1)] == "tea" and found[("dan", 2)] == "cake" and found[("cyd", 1)] == "rope"
    why = {(r["person_id"], r["rank"]): r["reason"] for r in top}
    assert [why[key] for key in (("dan", 1), ("dan", 2), ("cyd", 2))] == ["bought before", "bought with tea", "popular"]
    basket = {(r["person_id"], r["item"]): r["known"] for r in recommend.next_basket(lines, AS_OF).collect()}
    assert basket == {("ann", "tea"): True, ("ann", "rope"): False, ("dan", "milk"): False}
    said = spark.createDataFrame([("ann", "tea"), ("dan", "milk")], "person_id string, item string")
    row = recommend.recall(recommend.next_basket(lines, AS_OF), said).first()
    assert (row["people"], row["recall"], row["repeat"], row["explore"]) == (2, 0.75, 1.0, 0.5)


def test_factors_find_who_is_alike_whatever_the_order_of_rows(spark):
    bought = [(f"p{n}", f"{'ab'[n % 2]}{item}", 1.0) for n in range(20) for item in range(6) if (n + item) % 4]
    own = spark.createDataFrame(bought, "person_id string, item string, score double")
    first = recommend.by_factors(own.repartition(3), 6, seed=1).collect()
    again = recommend.by_factors(own.orderBy(F.desc("item")), 6, seed=1).collect()
    assert sorted(map(tuple, first)) == sorted(map(tuple, again)) and len(first) == 20 * 6
    assert all(row["item"][0] == "ab"[int(row["person_id"][1:]) % 2] for row in first)


def test_interests_are_chances_and_know_nothing_of_later_rows(week):
    found = rows(week, "ml.interests")
    liked = "c" + (found["person_id"].str[1:].astype(int) % 5).astype(str)
    same = found["category"] == liked
    assert found.loc[same, "score"].mean() > 3 * found.loc[~same, "score"].mean()
    told = found["reasons"].notna()
    assert told.any() and found.loc[told, "score"].min() >= found.loc[~told, "score"].max()
    words = {one.split()[0] for reasons in found.loc[told, "reasons"] for one in reasons}
    assert words and words <= set(interests.NAMES)
    orders = interests.with_history(week.lake.read("silver.orders"), week.lake.read("identity.members"))
    events = interests.with_history(week.lake.read("silver.events"), week.lake.read("identity.members"))
    day = AS_OF - timedelta(60)
    later = orders.withColumn("known_at", F.lit(day).cast("timestamp"))  # all is known on the day, too late
    before = orders.where(F.col("known_at") < F.lit(day).cast("timestamp"))
    wanted, got = (
        interests.pairs(frame, events, [day]).toPandas().sort_values(["person_id", "category"], ignore_index=True)
        for frame in (before, before.unionByName(later))
    )
    pd.testing.assert_frame_equal(wanted, got)
    assert (wanted["share"] <= 1).all() and (wanted["own_orders"] <= wanted["orders"]).all()


def test_the_chances_of_interests_are_watched_as_those_of_people_are(week):
    watched = rows(week, "ml.monitoring").query("model == 'interests'")
    names = set(watched["name"])
    assert {"score", "own_orders", "last_order_days"} <= names and "popularity" not in names
    run = registry(week).client.get_model_version(registry(week).registered("interests"), "1").run_id
    assert registry(week).client.list_artifacts(run, "monitoring")
    day = week.as_of - timedelta(32)  # the newest whose labels are known
    orders = interests.with_history(week.lake.read("silver.orders"), week.lake.read("identity.members"))
    orders = orders.where("status = 'paid'")
    day_rows = interests.pairs(orders, orders.limit(0), [day]).select(*interests.KEYS)
    truth = interests.with_labels(day_rows, orders, [day], week.as_of).agg(F.avg("label")).first()[0]
    before = week.lake.read("ml.interests").toPandas()
    for said, alarm in ((truth, False), (min(1.0, 3 * truth + 0.2), True)):
        given = day_rows.withColumns({"score": F.lit(float(said)), "version": F.lit("1"), "stale": F.lit(False)})
        week.lake.write("ml.interests", padded(given, week.lake, "ml.interests"), on=day)
        label, *tenths = realised_interests(week, orders, {"share": said, "rows": 900})
        assert label["found"] == pytest.approx(truth) and label["alarm"] == alarm and tenths
    week.lake.write("ml.interests", week.lake.read("ml.interests").limit(0), on=day)
    assert len(week.lake.read("ml.interests").toPandas()) == len(before)


def test_each_week_is_kept_with_what_it_was_judged_by_and_a_closed_gate_leaves_the_last_rows_as_stale(
    week, monkeypatch
):
    models = registry(week)
    for name, metric in {"clv": "rmse", "recommend": "recall_at_10", "segments": "explained"}.items():
        (version,) = models.versions(name)  # the rerun has made no second one
        assert version["aliases"] == ["challenger", "champion"] and version["gate"] == "passed"
        run = models.client.get_run(models.client.get_model_version(models.registered(name), "1").run_id)
        measures = run.data.metrics
        assert measures[f"{metric}_low"] < measures[metric] < measures[f"{metric}_high"] and "baseline" in measures
        files = {one.path for one in models.client.list_artifacts(run.info.run_id, "report")}
        assert {"report/card.md", "report/report.json"} <= files
        card = Path(models.client.download_artifacts(run.info.run_id, "report/card.md")).read_text()
        assert (": x " in card or " x " in card) if name == "clv" else name == "recommend" or "spend_365d 0." in card
    later = replace(week, date=week.date + timedelta(7), warnings=[])
    monkeypatch.setattr(value, "_rule", lambda past, actual: ("an oracle", actual))
    value.value_due(later)
    found = rows(week, "ml.values")
    assert found["stale"].all() and found["as_of"].nunique() == 1 and "an oracle" in later.warnings[0]
    assert [one["gate"] for one in models.versions("clv")] == [None, "passed"] and models.champion("clv") == "1"
    away = conf_without_mlflow(week)
    monkeypatch.undo()
    value.value_due(replace(away, date=week.date + timedelta(8)))
    assert any("cannot be kept" in told for told in away.warnings) and rows(week, "ml.values")["stale"].all()


def conf_without_mlflow(job):
    env = job.conf.env.model_copy(update={"mlflow_uri": "http://127.0.0.1:9"})
    return replace(job, conf=job.conf.model_copy(update={"env": env}), warnings=[])


def test_the_interests_are_left_to_the_champion_that_is_better_or_was_chosen_by_hand(week, monkeypatch):
    learn = interests.judged

    def better_than_the_rule(*asked):  # whatever the last days of this shop, in which nobody buys, make of it
        made, held = learn(*asked)
        return made._replace(row=made.row | {"reason": None, "promoted": True}), held

    monkeypatch.setattr(interests, "LEAST", 20)
    monkeypatch.setattr(interests, "judged", better_than_the_rule)
    monkeypatch.setattr(interests, "against", lambda *asked: "it is no better")
    later = replace(week, date=week.date + timedelta(7), warnings=[])

    def newest() -> pd.DataFrame:
        interests.interest_due(later)
        found = rows(week, "ml.interests")
        assert not found["stale"].any()
        return found[found["as_of"] == found["as_of"].max()]

    assert set(newest()["version"]) == {"1"} and "it is no better" in later.warnings[0]
    assert rows(week, "ml.interests")["as_of"].nunique() == 2
    monkeypatch.setattr(interests, "against", lambda *asked: None)
    assert set(newest()["version"]) == {"2"}
    assert registry(week).rollback("interests") == "1"
    for _ in range(2):  # the next run scores, and the one after it does not promote what was rolled back
        assert set(newest()["version"]) == {"1"} and registry(week).champion("interests") == "1"
    told = "version 2 was champion, and version 1 was chosen since"
    assert any(told in one for one in later.warnings)  # beside what monitoring says of the shop's last days
    registry(week).promote("interests", "2")
    later = replace(later, date=later.date + timedelta(1))  # nothing is due
    assert set(newest()["version"]) == {"2"}


def test_what_lost_its_features_is_marked_stale_and_told_once(week):
    given = {"model": F.lit("churn"), "as_of": F.lit(AS_OF), "score": F.lit(0.5), "stale": F.lit(False)}
    given |= {"percentile": F.lit(0.5), "version": F.lit("1"), "snapshot": F.lit("s")}
    people = week.lake.read("identity.members").select("person_id").limit(9)
    week.lake.write("ml.scores", padded(people.withColumns(given), week.lake, "ml.scores"), on=AS_OF)
    fewer = {name: one for name, one in week.conf.features.items() if name not in ("last_order_days", "tenure_days")}
    job = replace(week, conf=week.conf.model_copy(update={"features": fewer}), warnings=[])
    for _ in range(2):
        score.not_asked(job, applicable(job))
        segments.segment_due(job)
    assert rows(week, "ml.scores")["stale"].all() and rows(week, "ml.segments")["stale"].all()
    lines = [told for told in job.warnings if "conf/features.yml lacks" in told]
    assert len(lines) == len(job.warnings) == 2 and "churn" in lines[0] and "last_order_days" in lines[0]
    assert "segments are not made" in lines[1] and "tenure_days" in lines[1]


def enrolled(n: int, lift: float, names: list[str]) -> pd.DataFrame:
    """Of who entered, those of like signs are moved by `lift` twice, the others put off as far."""
    rng = np.random.default_rng(4)
    told = pd.DataFrame(rng.normal(size=(n, len(names))), columns=names)
    treated = rng.random(n) < 0.6
    chance = 0.45 + lift * (2 * treated - 1) * np.sign(told["orders_365d"] * told["spend_365d"])
    return told.assign(treated=treated, label=(rng.random(n) < chance).astype(float))


def test_an_effect_is_learned_only_where_the_holdout_tells_of_one(week, spark, monkeypatch):
    few = ("orders_365d", "spend_365d", "last_order_days")
    monkeypatch.setattr(effects, "SPEC", replace(effects.SPEC, features=few))
    names = effects.feature_names(effects.SPEC, week.conf.features)
    few = effects.judged(enrolled(300, 0.3, names), "winback", AS_OF, names, 42)
    assert few.model is None and "100 are needed" in few.row["reason"]
    made = effects.judged(enrolled(2500, 0.4, names), "winback", AS_OF, names, 42)
    row = made.row
    assert made.interval[0] < row["value"] < made.interval[1]
    assert row["promoted"] and row["value"] > row["baseline"] and row["model"] == "uplift_winback"
    assert row["baseline_rule"] == "an S-learner"
    people = enrolled(60, 0.0, names).drop(columns=["treated", "label"])
    people["person_id"] = [f"p{n:02}" for n in range(60)]
    frame = spark.createDataFrame(people).withColumn("as_of", F.lit(AS_OF))
    written = effects.moved(frame, made, "winback", Decision(cost=1, gain=4)).toPandas().set_index("person_id")
    alike = (people["orders_365d"] * people["spend_365d"] > 0).to_numpy()
    found = written.loc[people["person_id"], "uplift"].to_numpy()
    assert (written["selected"] == (written["uplift"] >= 0.25)).all()
    told = written["reasons"].dropna()
    words = [one.split()[0] for reasons in told for one in reasons]
    assert words.count("orders_365d") + words.count("spend_365d") > words.count("last_order_days")
    assert set(list(made.about["importance"])[:2]) == {"orders_365d", "spend_365d"}
    assert found[alike].mean() > 0.5 and found[~alike].mean() < -0.5
    row = effects.judged(enrolled(2000, 0.0, names), "winback", AS_OF, names, 42).row
    assert not row["promoted"] and "the top 30 %" in row["reason"]


def test_effects_are_written_for_experiments_that_tell_of_one_and_once_a_week(week, monkeypatch):
    few = ("orders_365d", "spend_365d", "last_order_days")
    monkeypatch.setattr(effects, "SPEC", replace(effects.SPEC, features=few))
    names, size = effects.feature_names(effects.SPEC, week.conf.features), {"winback": 2500, "likely_buyers": 0}
    lifted = {"winback": 0.4, "likely_buyers": 0.0}
    monkeypatch.setattr(effects, "experiment", lambda job, name, permitted: enrolled(size[name], lifted[name], names))
    some = week.lake.read("gold.features").where(F.col("as_of") == F.lit(AS_OF)).where("person_id < 'p2'")
    effects.effect_due(week, permitted=some)
    found = rows(week, "ml.uplift")
    assert set(found["person_id"]) == {row["person_id"] for row in some.collect()}
    assert set(found["audience"]) == {"winback"} and found["uplift"].between(-1, 1).all()
    told = rows(week, "ml.trainings").set_index("model")
    assert told.loc["uplift_winback", "promoted"] and "uplift_likely_buyers" not in told.index
    later = replace(week, date=week.date + timedelta(6))
    effects.effect_due(later)  # not before a week is over
    assert len(rows(week, "ml.uplift")) == len(found)
    size["likely_buyers"], week.warnings[:] = 2000, []
    effects.effect_due(week)  # the same day again, with an experiment that tells of nothing
    assert ["uplift_likely_buyers: nothing new: the top 30 %" in told for told in week.warnings] == [True]
    assert set(rows(week, "ml.uplift")["audience"]) == {"winback"}
    assert {"uplift_likely_buyers", "clv"} <= set(rows(week, "ml.trainings")["model"])
    assert not rows(week, "ml.uplift")["stale"].any()
    size["winback"], before = 0, rows(week, "ml.uplift")
    effects.effect_due(week)  # and again, with nobody in the experiment any more
    pd.testing.assert_frame_equal(rows(week, "ml.uplift"), before.assign(stale=True))
    size["likely_buyers"], lifted["likely_buyers"] = 2500, 0.4
    effects.effect_due(week, permitted=some)  # another audience's rows stand beside them
    stale = rows(week, "ml.uplift").groupby("audience")["stale"].agg(["all", "any"])
    assert stale.to_dict("index") == {
        "likely_buyers": {"all": False, "any": False}, "winback": {"all": True, "any": True}
    }  # fmt: skip


def test_an_experiment_counts_orders_after_entering_and_features_of_that_day(week):
    entered = AS_OF - timedelta(40)
    changes = [(f"p{n}", "treatment" if n % 2 else "holdout") for n in range(20)]
    frame = week.spark.createDataFrame(changes, "person_id string, arm string")
    given = {"as_of": F.lit(entered), "audience": F.lit("winback"), "change": F.lit("entered"),
             "reason": F.lit("member"), "purpose": F.lit("marketing_email"),
             "consent_id": F.lit(None).cast("string")}  # fmt: skip
    week.lake.write("activation.changes", frame.withColumns(given), on=entered)
    changed = {"as_of": F.lit(entered), "orders_30d": F.lit(77.0)}
    rows_then = week.lake.read("gold.features").withColumns(changed)
    week.lake.write("gold.features", rows_then, on=entered)
    got = effects.experiment(week, "winback", None)
    assert len(got) == 20 and got["treated"].sum() == 10 and (got["orders_30d"] == 77).all()
    bought = week.lake.read("silver.orders").where(
        f"to_date(event_time) >= date'{entered}' and to_date(event_time) < date_add(date'{entered}', 30)"
    )
    keys = {row["subject_key"].split(":")[1] for row in bought.select("subject_key").distinct().collect()}
    assert got["label"].sum() == sum(str(n) in keys for n in range(20))
    assert effects.experiment(week, "likely_buyers", None).empty
