"""`make real-ml`: the flat tools and the learners on real tables, each figure beside what it has to reach."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pandas as pd

from ml import recommend
from ml.files import read_table
from ml.flat import Asked, fitted
from ml.labels import outcome
from ml.learn import estimator
from ml.transactions import orders, reported
from ml.uplift import lift
from ml.uplift import reported as moved

SHARED = Path(__file__).parents[3] / "shared" / "data" / "ml"
GOOD: list[bool] = []


def told(what: str, value: float, least: float | None = None, most: float | None = None) -> None:
    """One line; a figure outside its bounds fails the whole."""
    good = (least is None or value >= least) and (most is None or value <= most)
    bounds = f"{'' if least is None else f'>= {least}'} {'' if most is None else f'<= {most}'}".strip()
    GOOD.append(good)
    print(f"  {what:<46} {value:>10.4f}  {bounds}{'' if good else '   MISSED'}", flush=True)


def flat(name: str, path: str, shuffled: bool = False, **asked) -> dict:
    frame = read_table(SHARED / path)
    frame = frame.sample(frac=1, random_state=0, ignore_index=True) if shuffled else frame
    report = fitted(name, frame, Asked(**asked), estimator(name)).report
    for reason in report.get("reasons", []):
        print(f"  refused: {reason}")
    return report


def unflagged(report: dict) -> dict:
    """Figures of random folds of a table that no gate may have a word on."""
    told("columns flagged", len(report["leaks"]), 0, 0)
    return report.get("cross_validation") or report["without_flagged"]


def telco() -> None:
    for name in ("churn", "propensity"):
        found = unflagged(flat(name, "telco_churn/telco_churn.csv", label="Churn", id="customerID", repeats=10))
        told(f"{name}'s estimator, 10 x 5 folds, ROC-AUC", found["roc_auc"], 0.84, 0.87)
        told(f"{name}'s estimator, 10 x 5 folds, PR-AUC", found["pr_auc"], 0.65)
        told("calibration slope", found["calibration"]["slope"], 0.9, 1.1)
    report = flat("churn", "telco_churn_extended/telco_churn_extended.csv", label="Churn Value")
    flagged = {leak["column"] for leak in report["leaks"]}
    told("leaks flagged of 3", len(flagged & {"Churn Label", "Churn Score", "Churn Reason"}), 3, 3)
    told("honest columns flagged", len(flagged - {"Churn Label", "Churn Score", "Churn Reason"}), 0, 0)
    told("ROC-AUC without them", report["without_flagged"]["roc_auc"], 0.84, 0.87)


def bank() -> None:
    columns = list(read_table(SHARED / "bank_marketing/bank_full.csv.gz").columns)
    known = {name: name != "duration" for name in columns}
    report = flat("propensity", "bank_marketing/bank_full.csv.gz", label="y", availability=known, drop_leaks=True,
                  in_time_order=True)  # fmt: skip
    told("duration flagged by its declaration", [leak["column"] for leak in report["leaks"]] == ["duration"], 1)
    told("random folds ROC-AUC without duration", report["cross_validation"]["roc_auc"], 0.79, 0.90)
    split = report["time_split"]
    told("newest fifth ROC-AUC", split["roc_auc"])
    for name in ("mean_probability", "observed_share", "in_the_large", "slope"):
        told(f"newest fifth {name}", split["calibration"][name])
    told("alarm raised", split["drift"]["alarm"], 1)
    report = flat("propensity", "bank_marketing/bank_full.csv.gz", shuffled=True, label="y", exclude=("duration",),
                  in_time_order=True, repeats=1)  # fmt: skip
    told("alarm raised on the same rows, shuffled", report["time_split"]["drift"]["alarm"], 0, 0)


def shoppers() -> None:
    table = "online_shoppers/online_shoppers_intention.csv"
    found = unflagged(flat("propensity", table, label="Revenue"))
    told("ROC-AUC with PageValues", found["roc_auc"], 0.925)
    found = flat("propensity", table, label="Revenue", exclude=("PageValues",))["cross_validation"]
    told("ROC-AUC without PageValues", found["roc_auc"])


def cdnow() -> None:
    for name in ("sample", "master"):
        found = orders(read_table(SHARED / f"cdnow/cdnow_{name}.csv"), "customer_id", None, None, "1997-09-30")
        report, _ = reported(found, "1997-09-30", 7.0, 273)
        for key, wanted in zip(("r", "alpha", "a", "b"), (0.243, 4.414, 0.793, 2.426), strict=True):
            bounds = (wanted * 0.99, wanted * 1.01) if name == "sample" else (None, None)
            told(f"{name} {key}", report["bg_nbd"][key], *bounds)
        for model, held in report["holdout"].items():
            if isinstance(held, dict):
                told(f"{name} holdout total, {model}", held["total"])
                told(f"{name} holdout MAE, {model}", held["mae"])
        told(f"{name} holdout total in truth", report["holdout"]["bg_nbd"]["actual_total"])


def hillstrom() -> None:
    frame = read_table(SHARED / "hillstrom/hillstrom.csv.gz")
    found = lift(frame, "segment", ["visit", "conversion", "spend"], None, outcome)["effects"]
    for arm, name, wanted, half in (
        ("Mens E-Mail", "visit", 0.0766, 0.0066), ("Mens E-Mail", "conversion", 0.0068, 0.0018),
        ("Mens E-Mail", "spend", 0.770, 0.285), ("Womens E-Mail", "visit", 0.0452, 0.0063),
        ("Womens E-Mail", "conversion", 0.0031, 0.0016), ("Womens E-Mail", "spend", 0.424, 0.255),
    ):  # fmt: skip
        told(f"{arm} {name}", found[name][arm]["difference"], wanted - half, wanted + half)
    asked = Asked(label="visit", exclude=("conversion", "spend"))
    report = moved("uplift", frame, asked, "segment", None, estimator("uplift"))
    for arm, one in report["uplift"].items():
        for learner, top in one["learners"].items():
            told(f"{arm} {learner} uplift@30 %", top["uplift"])
            print(f"    {top['low']:.4f} to {top['high']:.4f}, permutation p {top['permutation_p']:.3f}")


def baskets() -> None:
    from cdp_spark import session
    from cdp_spark.config.models import Env

    spark = session.build(Env(master="local[2]", driver_memory="3g"), name="real-ml", s3=False)
    raw = spark.read.parquet(str(SHARED / "completejourney/transactions.parquet")).where("quantity > 0")
    lines = raw.selectExpr("cast(household_id as string) person_id", "cast(basket_id as string) basket",
                           "cast(product_id as string) item", "to_date(transaction_timestamp) day")  # fmt: skip
    lines = lines.persist()
    for day in (date(2017, 10, 1), date(2017, 12, 1)):
        basket, common = recommend.next_basket(lines, day).persist(), recommend.popular(lines, day).persist()
        together = recommend.companions(lines, day, common).persist()
        plain = recommend.ranked(recommend.bought(lines, day, None), "person_id", 10, "score", "item")
        ours = recommend.recommended(recommend.bought(lines, day), together, common, 10)
        factors = recommend.by_factors(recommend.bought(lines, day), 10, 42)
        rule, found, als = (recommend.recall(basket, top).first() for top in (plain, ours, factors))
        told(f"{day} households", found["people"])
        for name in ("recall", "repeat", "explore"):
            told(f"{day} own most frequent {name}@10", rule[name])
            told(f"{day} recommended {name}@10", found[name], rule[name])
            told(f"{day} ALS {name}@10", als[name])
    spark.stop()


PARTS: dict[str, Callable[[], None]] = {
    "telco": telco, "bank": bank, "shoppers": shoppers, "cdnow": cdnow, "hillstrom": hillstrom, "baskets": baskets,
}  # fmt: skip


def main() -> int:
    if not SHARED.is_dir():
        print("shared data not found: ../shared/data/ml; nothing was run", file=sys.stderr)
        return 0
    pd.options.mode.copy_on_write = True
    for name in sys.argv[1:] or PARTS:
        begin = time.monotonic()
        print(name, flush=True)
        PARTS[name]()
        print(f"  {time.monotonic() - begin:.0f} s", flush=True)
    return 0 if all(GOOD) else 1


if __name__ == "__main__":
    sys.exit(main())
