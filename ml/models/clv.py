"""What is each customer worth in the coming year? BG/NBD and Gamma-Gamma on the orders of silver, as a step."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.models import Conf
from cdp_spark.gold.sums import EXACT, exact_sum
from cdp_spark.job import Job
from cdp_spark.silver.time import known_before
from ml.clv import BgNbd, ClvError, GammaGamma, alive, bg_nbd, expected_purchases, expected_value, gamma_gamma, judged
from ml.decide import with_selected
from ml.explain import SHARE, reasons, usual
from ml.importance import shuffled, some
from ml.measures import drawn
from ml.people import at_most, orders_of
from ml.stale import mark_stale
from ml.train import training
from ml.weekly import Made, digest, settled, week_is_over

MODEL = "clv"
CHAMPION_SCORES = False  # fitted anew for each week's rows
NAMES = ("x", "t_x", "T", "m")
DRAWS = 200
SURE = 0.95  # share of resamples in which the model must beat the best rule
UNIT = 7.0  # days of one unit of time
HORIZON_DAYS = 365
HELD_OUT_DAYS = 90
MOST = 20_000  # customers that parameters are fitted on, a fixed sample: more change the third digit
OUT = (
    "person_id string, p_alive double, expected_orders double, expected_value double, clv double, reasons array<string>"
)
TOLD = {"x": "orders_again", "t_x": "weeks_to_last_order", "T": "weeks_known", "m": "mean_order_value"}  # in reasons
LEAST_DROP = 0.05  # of what the highest tenth is worth at least, that a reason must explain


def names(conf: Conf) -> list[str]:
    """What the registry calls this model."""
    return [MODEL]


def value_due(job: Job, permitted: DataFrame | None = None) -> None:
    """Write ml.values of the day where they are due and the model beats its baselines; older ones stay otherwise."""
    if not week_is_over(job, "ml.values"):
        job.log("values are not due")
        return
    days = purchases(orders_of(job, permitted), job.as_of).persist()
    made = fitted(days, job.as_of, job.conf.base.seed)
    if settled(job, made) is None:
        mark_stale(job, "ml.values")
    else:
        told = predicted(customers(days, job.as_of), *models_of(made.model), made.model["usual"], made.model["cut"])
        told = told.withColumns({"as_of": F.lit(job.as_of), "stale": F.lit(False)})
        told = with_selected(told, job.conf.base.decisions.get(MODEL), "clv", [])
        written, row = job.lake.write("ml.values", told, on=job.as_of), made.row
        job.log(f"{written.rows} customers; rmse {row['value']:.3f} ({row['baseline_rule']} {row['baseline']:.3f})")
    days.unpersist()


def models_of(parameters: dict) -> tuple[BgNbd, GammaGamma | None]:
    """The two models from the document that is kept of them."""
    spend = parameters["gamma_gamma"]
    return BgNbd(**parameters["bg_nbd"]), GammaGamma(**spend) if spend else None


def purchases(orders: DataFrame, as_of: date) -> DataFrame:
    """One row per person and day with a paid order known before `as_of`: person_id, day, value."""
    paid = orders.where(known_before(as_of)).where("status = 'paid'")
    return paid.groupBy("person_id", F.to_date("event_time").alias("day")).agg(exact_sum("amount").alias("value"))


def customers(days: DataFrame, as_of: date) -> DataFrame:
    """One row per person who bought before `as_of`: x, t_x, T, m, as in ml.clv.customers, in units of UNIT days."""
    before = days.where(F.col("day") < F.lit(as_of))
    first = before.groupBy("person_id").agg(F.min("day").alias("first"))
    rows = before.join(first, "person_id")
    again, paid = F.col("day") > F.col("first"), (F.col("day") > F.col("first")) & (F.col("value") > 0)
    total = F.sum(F.when(paid, F.col("value").cast(EXACT))).cast("double")
    found = rows.groupBy("person_id", "first").agg(
        F.count_if(again).cast("double").alias("x"),
        F.max("day").alias("last"),
        F.try_divide(total, F.count_if(paid)).alias("m"),
    )
    end = F.lit(as_of - timedelta(1))
    return found.select(
        "person_id",
        "x",
        (F.datediff("last", "first") / UNIT).alias("t_x"),
        (F.datediff(end, "first") / UNIT).alias("T"),
        "m",
    )


def local(found: DataFrame) -> pd.DataFrame:
    """At most about MOST customers, in the order of their ids."""
    return at_most(found, MOST, salt=3).toPandas().sort_values("person_id", ignore_index=True)


def fitted(days: DataFrame, as_of: date, seed: int) -> Made:
    """The two models of all orders before `as_of` as parameters, or why there are none.

    Judged by the root mean squared error of the number of orders in the last HELD_OUT_DAYS, by parameters of before.
    """
    cut = as_of - timedelta(HELD_OUT_DAYS)
    later = days.where(F.col("day") >= F.lit(cut)).groupBy("person_id").agg(F.count("*").alias("later"))
    past = local(customers(days, cut).join(later, "person_id", "left"))
    actual, now = past["later"].fillna(0).to_numpy(dtype=float), local(customers(days, as_of))
    counts = (len(now), int((now["x"] > 0).sum()))
    held = {"holdout_rows": len(past), "holdout_positives": int((actual > 0).sum()), "holdout_on": cut}
    try:
        then, model = bg_nbd(past), bg_nbd(now)
        ours = expected_purchases(then, past, HELD_OUT_DAYS / UNIT)
    except ClvError as error:
        return Made(training(as_of, MODEL, "rmse", None, None, None, str(error), *counts) | held)
    (rule, theirs), value = _rule(past, actual), judged(ours, actual)["rmse"]
    least = judged(theirs, actual)["rmse"]
    share = share_better(ours, theirs, actual, seed)
    told = f"rmse {value:.3f} is better than {least:.3f} of {rule!r} in {share:.0%} of resamples of the customers only"
    reason = None if share >= SURE else f"{told}; {SURE:.0%} are needed"
    row = training(as_of, MODEL, "rmse", value, least, rule, reason, *counts) | held
    spend = _spend(now)
    parameters = {"bg_nbd": model._asdict(), "gamma_gamma": spend._asdict() if spend else None}
    parameters |= {"usual": usual(now[list(NAMES)]), "cut": float(np.quantile(worth(now, model, spend), SHARE))}
    notes = [f"orders of the {HELD_OUT_DAYS} days from {cut}, forecast from before", "BG/NBD; Gamma-Gamma for values"]
    snapshot = digest(now.drop(columns="person_id"), past.drop(columns="person_id"), as_of)
    about = {"importance": _leans(then, past, actual, seed), "importance_is": "Rise of the rmse without"}
    interval = _interval(ours - actual, seed)
    return Made(row | {"snapshot_id": snapshot}, parameters, NAMES, interval, about=about, notes=notes)


def _leans(model: BgNbd, past: pd.DataFrame, actual: np.ndarray, seed: int) -> dict[str, float]:
    """How much worse the forecast of orders is where one of a customer's numbers is another customer's."""
    at = some(len(past), seed)

    def loss(rows: pd.DataFrame) -> float:
        return judged(expected_purchases(model, _possible(rows), HELD_OUT_DAYS / UNIT), actual[at])["rmse"]

    return shuffled(loss, past.iloc[at][["x", "t_x", "T"]], seed)


def share_better(ours: np.ndarray, theirs: np.ndarray, actual: np.ndarray, seed: int) -> float:
    """Paired bootstrap: in which share of resamples of the customers the squared error of `ours` is the smaller one."""
    gain = drawn(actual.size, DRAWS, seed) @ ((theirs - actual) ** 2 - (ours - actual) ** 2)
    return float((gain > 0).mean())


def _rule(past: pd.DataFrame, actual: np.ndarray) -> tuple[str, np.ndarray]:
    """(name, forecast) of the best rule of thumb."""
    t = HELD_OUT_DAYS / UNIT
    rate = past["x"] * t / past["T"].clip(lower=t)
    recent = (past["T"] - past["t_x"]) * UNIT < 56
    rules = {"nobody buys": rate * 0, "same rate": rate, "same rate if active": rate.where(recent, 0)}
    rule = min(rules, key=lambda name: judged(rules[name].to_numpy(), actual)["rmse"])
    return rule, rules[rule].to_numpy()


def _interval(off: np.ndarray, seed: int) -> list[float]:
    """95 % bootstrap interval of the root mean square of `off`."""
    squares = drawn(off.size, DRAWS, seed) @ off**2 / max(off.size, 1)
    return [float(value) for value in np.sqrt(np.quantile(squares, [0.025, 0.975]))]


def _spend(now: pd.DataFrame) -> GammaGamma | None:
    try:
        spend = gamma_gamma(now)
        expected_value(spend, now)
    except ClvError:
        return None
    return spend


def worth(found: pd.DataFrame, model: BgNbd, spend: GammaGamma | None) -> np.ndarray:
    """Expected value over HORIZON_DAYS, undiscounted; without a spend model the expected number of orders."""
    orders = expected_purchases(model, found, HORIZON_DAYS / UNIT)
    return orders * expected_value(spend, found) if spend else orders


def predicted(
    found: DataFrame, model: BgNbd, spend: GammaGamma | None, usual: dict[str, float], cut: float
) -> DataFrame:
    """One row per customer: OUT; values are null without a spend model. usual, cut: as in `explain.reasons`."""

    def predict(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            if not len(batch):
                continue
            told = batch[["person_id"]].assign(p_alive=alive(model, batch))
            told["expected_orders"] = expected_purchases(model, batch, HORIZON_DAYS / UNIT)
            told["expected_value"] = expected_value(spend, batch) if spend else None
            told["clv"] = told["expected_orders"] * told["expected_value"] if spend else None
            told = told.astype({name: "float64" for name in told.columns if name != "person_id"})
            value = told["clv" if spend else "expected_orders"].to_numpy()
            yield told.assign(reasons=why(batch, value, model, spend, usual, cut))

    return found.mapInPandas(predict, OUT)


def why(
    found: pd.DataFrame, value: np.ndarray, model: BgNbd, spend: GammaGamma | None, usual: dict[str, float], cut: float
) -> list[list[str] | None]:
    """Reasons of the customers that are worth most, in the words of TOLD. value: as `worth` has it."""
    told = reasons(lambda rows: worth(_possible(rows), model, spend), found, value, usual, cut, LEAST_DROP * cut)
    return [None if one is None else [f"{TOLD[name]} {text}" for name, text in map(str.split, one)] for one in told]


def _possible(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` where nobody is known for less time than lies between the first and the last order."""
    return rows.assign(t_x=rows["t_x"].clip(upper=rows["T"]))
