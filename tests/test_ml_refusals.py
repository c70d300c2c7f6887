"""Flat tables that go wrong: each refusal is a report too, says what to do, and leaves nothing that misleads."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from ml import gates
from ml.files import TableError, read_availability, read_table
from ml.flat import Asked, fitted
from ml.labels import LabelError, outcome
from ml.learn import unknown
from ml.show import as_report
from ml.split import planned
from ml.store import save, stale
from ml.transactions import last_day, moment, orders, reported
from ml.uplift import lift
from ml.uplift import reported as moved
from ml.validate import folds
from tests.test_ml_flat import run


def plain(n: int = 600, seed: int = 0) -> pd.DataFrame:
    """Two columns that tell something each, and a label."""
    rng = np.random.default_rng(seed)
    one, two = rng.normal(size=n), rng.normal(size=n)
    chance = 1 / (1 + np.exp(-1.3 * one - 1.3 * two))
    return pd.DataFrame({"one": one, "two": two, "y": (rng.random(n) < chance).astype(int)})


def linear(seed: int) -> LogisticRegression:
    return LogisticRegression()


def asked(**more) -> Asked:
    return Asked(label="y", repeats=1, **more)


def test_a_class_of_few_people_is_refused_and_every_fold_holds_both_classes():
    frame = plain()
    rest = "p" + pd.Series(np.arange(600) % 200).astype(str)
    with pytest.raises(LabelError, match="all positives are rows of 1 different people"):
        fitted("x", frame.assign(id=rest.where(frame["y"] == 0, "A")), asked(id="id"), linear)
    with pytest.raises(LabelError, match="all negatives are rows of 2 different people"):
        pair = np.where(np.arange(600) % 2, "A", "B")
        fitted("x", frame.assign(id=rest.where(frame["y"] == 1, pair)), asked(id="id"), linear)
    truth = np.repeat([0, 1], 50)
    with pytest.raises(LabelError, match="so few people that one of 5 folds has none"):
        list(folds(truth, 1, pd.Series([*range(50), *[50] * 50])))


def test_every_refusal_is_a_report_under_json(tmp_path, monkeypatch, capsys):
    frame, rng = plain(), np.random.default_rng(1)
    frame = frame.assign(three=rng.choice(list("abc"), 600), none=0, rare=(np.arange(600) < 40).astype(int), arm="t",
                         treated=(np.arange(600) < 30).astype(int), all="", half=np.where(np.arange(600) % 2, "4", ""),
                         way=np.where(np.arange(600) % 2, "a", "b"))  # fmt: skip
    frame.to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame({"id": range(20), "date": "2024-01-05", "amount": 3}).to_csv(tmp_path / "o.csv", index=False)
    table, fit = ["--table", tmp_path / "t.csv"], ["fit", "x", "--models", tmp_path / "m"]
    for words, reason in [
        ([*fit, *table, "--label", "rare"], "40 positives"),
        ([*fit, *table, "--label", "none"], "there are no positives"),
        ([*fit, *table, "--label", "three"], "--positive"),
        ([*fit, *table, "--label", "y", "--treatment", "treated"], "arm '1': "),
        (["lift", *table, "--arm", "arm", "--outcome", "y"], "1 arm(s)"),
        (["lift", *table, "--arm", "way", "--outcome", "all"], "outcome all: no row has a value"),
        (["lift", *table, "--arm", "way", "--outcome", "half"], "outcome half: arm 'b' has no row(s) with a value"),
        (["clv", "--transactions", tmp_path / "o.csv", "--until", "2024-02-01"], "too few to fit BG/NBD"),
    ]:
        code, out, err = run(monkeypatch, capsys, *words, "--json")
        report = json.loads(out)
        assert code == 3 and report["status"] == "refused" and reason in report["reasons"][0], (words, err)
        assert report["model"] == ("x" if words[0] == "fit" else words[0]) and "--drop-leaks" not in err
        assert run(monkeypatch, capsys, *words)[:2] == (3, "")


def test_what_nobody_foresaw_is_a_report_that_failed(capsys):
    def broken(as_json, name):
        raise ValueError("ann@example.com")

    with pytest.raises(ValueError):
        as_report(broken)(as_json=True, name="x")
    report = json.loads(capsys.readouterr().out)
    assert (report["model"], report["status"]) == ("x", "failed")
    assert "please file it" in report["reasons"][0] and "ann@" not in report["reasons"][0]


def test_a_refused_fit_marks_the_model_that_was_there(tmp_path, monkeypatch, capsys):
    frame, models = plain(), ["--models", tmp_path / "m", "--json"]
    frame.to_csv(tmp_path / "t.csv", index=False)
    kept = fitted("churn", frame, asked(), linear)
    save(kept, tmp_path / "m")
    bad = ["fit", "churn", "--table", tmp_path / "t.csv", "--label", "y", "--least", "500", *models]
    code, out, err = run(monkeypatch, capsys, *bad)
    assert code == 3 and "marked as stale" in json.loads(out)["earlier"] and "marked as stale" in err
    judge = ["evaluate", "churn", "--table", tmp_path / "t.csv", *models]
    code, out, err = run(monkeypatch, capsys, *judge)
    assert code == 0 and "STALE" in err and json.loads(out)["notes"][0].startswith("STALE")
    save(kept, tmp_path / "m")
    assert stale("churn", tmp_path / "m") is None


def test_rows_without_a_label_are_counted():
    frame = plain().astype({"y": object})
    frame.loc[::4, "y"] = None
    report = fitted("x", frame, asked(), linear).report
    assert report["rows"] == 450 and "150 rows without a label (y) are left out" in report["notes"]


def test_a_model_that_is_no_better_than_a_column_or_than_guessing_says_so():
    frame = plain()
    good = fitted("x", frame, asked(), linear).report
    assert good["beats_baseline"] and good["warnings"] == [] and good["baseline"]["interval"][0] > 0.02
    alone = fitted("x", frame[["one", "y"]], asked(), linear).report
    assert alone["status"] == "fitted" and not alone["beats_baseline"]
    assert alone["notes"][0].startswith("NOT BETTER THAN ITS BASELINE: one alone")
    luck = fitted("x", frame.assign(y=np.random.default_rng(5).integers(0, 2, 600)), asked(), linear).report
    assert luck["warnings"][0].startswith("NO BETTER THAN GUESSING") and not luck["beats_baseline"]


def test_columns_that_know_the_answer_together_are_refused_unless_vouched_for():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=600)
    frame = plain().assign(sent=noise, back=lambda t: noise + t["y"] + 0.2 * rng.normal(size=600))
    report = fitted("x", frame, asked(drop_leaks=True), linear).report
    assert report["status"] == "refused" and [leak["gate"] for leak in report["leaks"]] == ["whole_model"]
    assert "sent" in report["reasons"][0] and "back" in report["reasons"][0] and "--allow whole" in report["reasons"][0]
    assert fitted("x", frame, asked(allow=("whole",)), linear).report["status"] == "fitted"
    assert gates.whole_model(0.979, []) == []


def test_outcomes_that_one_arm_lacks_and_planned_shares_move_the_verdict():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"arm": rng.choice(["control", "t"], 4000, p=[0.9, 0.1]), "paid": rng.random(4000)})
    frame["some"] = frame["paid"].mask(rng.random(4000) < 0.2)
    frame["gone"] = frame["paid"].mask((frame["arm"] == "t") & (rng.random(4000) < 0.4))

    def judged(name: str, shares=None) -> dict:
        return lift(frame, "arm", [name], None, outcome, shares)

    assert judged("paid")["sample_ratio"]["verdict"] == "refuse" and "--shares" in judged("paid")["notes"][0]
    plan = planned("Control=0.9,T=.1")
    assert judged("some", plan)["sample_ratio"]["verdict"] == "fair"
    found = judged("gone", plan)
    assert found["sample_ratio"]["verdict"] == found["missing"]["gone"]["verdict"] == "refuse"
    assert found["missing"]["gone"]["missing"]["t"] > 0.3 and "not missing alike" in found["notes"][0]
    with pytest.raises(TableError, match="the arms are control, t"):
        judged("paid", planned("control=0.9,treatment=0.1"))
    for text in ("control", "control=x,t=1", "control=1", "control=0,t=1"):
        with pytest.raises(TableError, match="planned share"):
            planned(text)
    arms = frame.assign(arm=rng.integers(0, 10, 4000).astype(str))
    assert "9 effects" in lift(arms, "arm", ["paid"], None, outcome)["notes"][-1]
    with pytest.raises(LabelError, match="7 cells are infinite"):
        outcome(pd.Series([np.inf] * 7 + [1.0]), "paid")


def test_an_experiment_of_uneven_arms_is_told_in_its_notes(monkeypatch):
    monkeypatch.setattr("ml.uplift.DRAWS", 5)
    frame = plain(1500)
    frame["arm"] = np.where(np.random.default_rng(4).random(1500) < 0.3, "mail", "none")
    report = moved("uplift", frame, asked(), "arm", None, linear)
    assert report["sample_ratio"]["verdict"] == "refuse" and "not as big as equal shares" in report["notes"][0]
    plan = moved("uplift", frame, asked(), "arm", None, linear, {"mail": 0.3, "none": 0.7})
    assert plan["sample_ratio"]["verdict"] == "fair" and plan["effects"] == report["effects"]
    assert unknown("uplift", True) is None and "no shipped model" in unknown("uplift", False)


def bought(days: list[str], **more) -> pd.DataFrame:
    return pd.DataFrame({"customer": "c", "date": days, "amount": 5} | more)


def test_until_is_a_day_or_refused():
    for text in ("2022-12-31", "2022-12-31T00:00:00Z", "2022-12-31T23:30:00+05:00"):
        assert moment(text) == pd.Timestamp("2022-12-31")
    for text in ("", "nan", "NaT", "2022-13-40", "soon"):
        with pytest.raises(TableError, match="not a date such as"):
            moment(text)


def test_a_purchase_is_of_the_day_on_its_own_clock():
    def day(cells) -> str:
        return str(orders(bought(cells), None, None, None, "2024-01-31")["day"].iloc[0].date())

    berlin = pd.to_datetime(["2024-01-05 00:30", "2024-01-06 12:00"]).tz_localize("Europe/Berlin")
    assert day(berlin) == day(berlin.astype(str)) == day(["2024-01-05T00:30:00.5+01:00"]) == "2024-01-05"
    assert day(["2024-01-05T23:30:00Z"]) == day(["2024-01-05 23:30"]) == day(["20240105"]) == "2024-01-05"


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (bought(["soon"]), "no cell is a date such as 2025-09-30"), (bought(["1647820800"]), "seconds since 1970"),
        (bought(["2024-01-05"], amount=-5), "all 1 amounts are below 0"),
        (bought(["2024-01-05"], customer=" "), "no cell names a customer"),
    ],
)  # fmt: skip
def test_transactions_of_which_none_counts_say_why(rows, told):
    with pytest.raises(TableError, match=told):
        orders(rows, None, None, None, "2024-01-31")


def test_a_slip_in_the_future_is_no_end_of_the_holdout_and_a_horizon_counts():
    days = pd.Series(pd.date_range("2023-01-01", periods=40, freq="10D"))
    assert last_day(days) == (days.max(), 0)
    assert last_day(pd.concat([days, pd.Series([pd.Timestamp("2099-01-01")])])) == (days.max(), 1)
    late = pd.concat([days, days + pd.Timedelta(days=800)])
    assert last_day(late) == (late.max(), 0)  # a pause of the shop
    rng = np.random.default_rng(0)
    customers = np.repeat(np.arange(60), 6).astype(str)
    when = pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 400, 360), "D")
    rows = pd.DataFrame({"customer": [*customers, "0"], "date": [*when.astype(str), "2099-01-01"]})
    found = orders(rows, None, None, None, "2023-09-30")
    report, _ = reported(found, "2023-09-30", 7.0)
    assert report["horizon_days"] == report["holdout"]["days"] < 130 and any(
        "1 rows over a year" in n for n in report["notes"]
    )
    report, _ = reported(found, "2023-09-30", 7.0, 30)
    assert report["horizon_days"] == report["holdout"]["days"] == 30
    report, _ = reported(found, "2023-09-30", 7.0, 500)
    assert report["horizon_days"] == 500 and report["holdout"]["days"] < 130


def test_lines_of_a_csv_are_read_as_csv_says(tmp_path):
    (tmp_path / "t.csv").write_text('a,"spend\nEUR",c\n1,"x\ny",3\n2,5" screen,4\n')
    assert read_table(tmp_path / "t.csv").to_dict("list") == {
        "a": ["1", "2"], "spend EUR": ["x\ny", '5" screen'], "c": ["3", "4"]
    }  # fmt: skip
    (tmp_path / "t.csv").write_text("a,b\n1,2\n1,2\n1,secret,3\n")
    with pytest.raises(TableError, match="line 4 has 3 cells, but the header names 2 columns") as told:
        read_table(tmp_path / "t.csv")
    assert "secret" not in str(told.value)


def test_an_availability_csv_may_lack_its_header(tmp_path):
    file = tmp_path / "known.csv"
    for text in (
        "a,before\nb,after\n",
        "column,availability\na,before\nb,after\n",
        "name,available\na,before\nb,after",
    ):
        file.write_text(text)
        assert read_availability(file, ["a", "b"]) == {"a": True, "b": False}
    file.write_text("a,before\nb,known after the outcome\n")
    assert read_availability(file, ["a", "b"])["b"] is False
    file.write_text("aa,before\nb,after\n")
    with pytest.raises(TableError, match="no column aa"):
        read_availability(file, ["a", "b"])
