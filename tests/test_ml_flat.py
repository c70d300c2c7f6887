"""Flat tables of any origin: what is learned from, what is refused and why, and measures that agree with others."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from cdp_spark.cli import main
from ml import drift, gates
from ml.files import read_table
from ml.flat import Asked, fitted, told_by_words
from ml.labels import labels
from ml.show import plain
from ml.table import schema, typed
from tests.conftest import ROOT

SHARED = Path(__file__).parents[2] / "shared" / "data" / "ml"


def shared(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"shared data not found: ../shared/data/ml/{name}")
    return SHARED / name


def shop(n: int = 1500, seed: int = 0) -> pd.DataFrame:
    """A table as somebody sends it: text, blanks, an id, a constant, infinite cells, many cities, dates."""
    rng = np.random.default_rng(seed)
    spend, visits = rng.gamma(2, 50, n), rng.poisson(4, n)
    plan = rng.choice(["basic", "plus", "pro"], n, p=[0.6, 0.3, 0.1])
    odds = -0.5 - 0.01 * spend + 0.2 * visits + 0.8 * (plan == "pro")
    left = rng.random(n) < 1 / (1 + np.exp(-odds))
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 365, n), "D")
    text = np.where(rng.random(n) < 0.05, " ", np.round(spend, 2).astype(str))
    return pd.DataFrame(
        {
            "account no": [f"A-{seed}-{i:05}" for i in rng.permutation(n)],
            "spend": text,
            "visits": np.where(rng.random(n) < 0.01, np.inf, visits),
            "plan": plan,
            "city": rng.choice([f"town {i}" for i in range(400)], n),
            "comment": [" ".join(rng.choice(["late", "good", "never", "again", "price", "nice"], 6)) for _ in range(n)],
            "joined": day.strftime("%d/%m/%Y"),
            "country": "GB",
            "fax": None,
            "left": np.where(left, "Yes", "No"),
        }
    )


def run(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["cdp", "model", *map(str, words)])
    code = main()
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, frame = tmp_path_factory.mktemp("tables"), shop()
    frame.to_csv(folder / "comma.csv", index=False)
    frame.to_csv(folder / "semicolon.csv.gz", index=False, sep=";")
    frame.to_parquet(folder / "columns.parquet")
    shop(600, seed=1).to_csv(folder / "later.csv", index=False)
    return folder


def test_a_messy_table_is_fitted_and_a_held_out_one_judged(files, tmp_path, monkeypatch, capsys):
    models = ["--models", tmp_path / "m", "--json"]
    code, out, err = run(monkeypatch, capsys, "fit", "leaving", "--table", files / "comma.csv", "--label", "left",
                       "--id", "account no", "--time", "joined", "--repeats", "1", "--cost", "1", "--gain", "4",
                       *models)  # fmt: skip
    report = json.loads(out)
    assert code == 0 and report["status"] == "fitted" and report["leaks"] == []
    assert "no shipped model (churn, propensity)" in err and "boosted trees" in report["estimator"]
    assert report["features"] == {
        "spend": "number", "visits": "number", "plan": "category", "city": "category", "comment": "text"
    }  # fmt: skip
    why = report["left_out"]
    assert (why["country"], why["fax"], why["account no"], why["joined"]) == (
        "constant",
        "all null",
        "the id",
        "the time",
    )
    assert any("infinite" in note for note in report["notes"])
    found = report["cross_validation"]
    assert 0.65 < found["roc_auc"] < 0.9 and found["intervals"]["roc_auc"][0] < found["roc_auc"]
    assert report["decision"]["threshold"] == 0.25 and 0 < report["decision"]["profit_per_row"] < 3
    assert len(found["deciles"]) == 10 and found["deciles"][-1]["captured"] == pytest.approx(1)
    assert report["time_split"]["test_rows"] > 200 and not report["time_split"]["drift"]["alarm"]
    folder = tmp_path / "m" / "leaving"
    assert {"card.md", "report.json", "lift.png", "calibration.png"} <= {path.name for path in folder.iterdir()}
    assert b"A-0-00001" not in (folder / "model.pkl").read_bytes()

    code, out, _ = run(monkeypatch, capsys, "evaluate", "leaving", "--table", files / "later.csv", *models,
                       "--scores", tmp_path / "scores.csv")  # fmt: skip
    later = json.loads(out)
    assert code == 0 and abs(later["roc_auc"] - found["roc_auc"]) < 0.06 and not later["drift"]["alarm"]
    kept = pd.read_csv(tmp_path / "scores.csv")
    assert list(kept) == ["account no", "score"] and len(kept) == 600
    other = shop(600, seed=1).assign(left=lambda t: (t["left"] == "Yes").astype(int), plan="ultra", more=1)
    other.to_csv(tmp_path / "other.csv", index=False, sep=";")
    code, out, _ = run(monkeypatch, capsys, "evaluate", "leaving", "--table", tmp_path / "other.csv", *models)
    again = json.loads(out)
    assert code == 0 and again["positives"] == later["positives"] and "plan has drifted" in again["drift"]["reasons"][0]
    assert any("600 rows of categories" in note for note in again["notes"]) and any("more" in n for n in again["notes"])
    other.drop(columns="spend").to_csv(tmp_path / "other.csv", index=False)
    code, out, err = run(monkeypatch, capsys, "evaluate", "leaving", "--table", tmp_path / "other.csv", *models)
    told = json.loads(out)
    assert code == 3 and "lacks spend" in err and "lacks spend" in told["reasons"][0]
    assert (told["model"], told["status"]) == ("leaving", "refused")
    (folder / "model.pkl").write_bytes((folder / "model.pkl").read_bytes() + b"x")
    code, _, err = run(monkeypatch, capsys, "evaluate", "leaving", "--table", files / "later.csv", *models)
    assert code == 2 and "SHA-256" in err


def test_bad_calls_end_in_words(files, tmp_path, monkeypatch, capsys):
    table = files / "comma.csv"
    for words, code, told in [
        (["evaluate", "nobody", "--table", table, "--models", tmp_path], 2, "no model 'nobody'"),
        (["fit", "x", "--table", tmp_path / "no.csv", "--label", "y"], 2, "no such file"),
        (["fit", "x", "--table", table, "--label", "y"], 2, "no column y"),
        (["fit", "x", "--table", table, "--label", "country"], 3, "nothing can be learned"),
        (["fit", "x", "--table", table, "--label", "city"], 3, "--positive"),
        (["fit", "x", "--table", table, "--label", "city", "--positive", "town 3"], 3, "positives"),
        (["lift", "--table", table, "--arm", "country", "--outcome", "left"], 3, "2 to 20"),
        (["fit", "x", "--table", table, "--label", "left", "--cost", "3", "--gain", "2"], 2, "a larger --gain"),
        (["fit", "../x", "--table", table, "--label", "left"], 2, "letters, digits"),
        (["fit", "x", "--table", table, "--label", "left", "--id", "left"], 2, "another column as well"),
        (["fit", "x", "--table", table, "--label", "left", "--allow", "zz"], 2, "no column zz"),
        (["fit", "x", "--table", table, "--label", "left", "--control", "basic"], 2, "--treatment; give both"),
        (
            ["fit", "x", "--table", table, "--label", "left", "--treatment", "plan", "--cost", "1", "--gain", "2"],
            2,
            "--cost, --gain: not with --treatment",
        ),
        (["fit", "x", "--table", table, "--label", "left", "--treatment", "plan", "--repeats", "3"], 2, "--repeats"),
        (
            ["fit", "x", "--table", table, "--label", "left", "--treatment", "plan", "--id", "plan"],
            2,
            "cannot be the id",
        ),
        (["clv", "--transactions", table, "--until", "2024-06-30", "--unit-days", "0"], 2, "range"),
        (["clv", "--transactions", table, "--until", "2024-06-30"], 2, "--customer"),
    ]:
        got, _, err = run(monkeypatch, capsys, *words)
        assert (got, told in err, "Traceback" in err) == (code, True, False), (words, err)


def leaky() -> pd.DataFrame:
    frame = shop(1200)
    left, rng = (frame["left"] == "Yes").to_numpy(), np.random.default_rng(3)
    return frame.assign(
        reason=np.where(left, rng.choice(["price", "moved"], 1200), None),
        closing=np.where(left, 5, 0) + rng.normal(size=1200),
        state=np.where(left & (rng.random(1200) < 0.3), "closed", rng.choice(["new", "old"], 1200)),
        refund=np.where(left & (rng.random(1200) < 0.4), rng.gamma(2, 9, 1200), 0.0),
        copy=np.where(left, "gone", "here"),
    )


def test_each_leak_is_named_by_its_gate():
    frame = leaky()
    known = schema(frame.drop(columns="left"))
    label = labels(frame["left"], "left").values
    flags = {flag.column: flag.gate for flag in gates.leaks(typed(frame, known.kinds), label, list(known.kinds))}
    assert flags == {
        "reason": "null_pattern", "closing": "single_feature", "state": "one_class_category",
        "refund": "one_class_category", "copy": "single_feature",
    }  # fmt: skip
    shuffled = label.sample(frac=1, random_state=1, ignore_index=True)  # another label, and no gate speaks
    assert gates.leaks(typed(frame, known.kinds), shuffled, list(known.kinds)) == []


def test_a_leak_refuses_and_drop_leaks_goes_on(tmp_path, monkeypatch, capsys):
    leaky().to_csv(tmp_path / "t.csv", index=False)
    words = [
        "fit",
        "x",
        "--table",
        tmp_path / "t.csv",
        "--label",
        "left",
        "--models",
        tmp_path,
        "--json",
        "--repeats",
        "1",
    ]
    code, out, err = run(monkeypatch, capsys, *words)
    report = json.loads(out)
    assert code == 3 and report["status"] == "refused" and not (tmp_path / "x").exists()
    assert {leak["column"] for leak in report["leaks"]} == {"reason", "closing", "state", "refund", "copy"}
    assert all(name in err for name in ("reason", "closing", "state", "refund", "copy"))
    code, out, _ = run(monkeypatch, capsys, *words, "--drop-leaks")
    assert code == 0 and json.loads(out)["cross_validation"]["roc_auc"] == pytest.approx(
        report["without_flagged"]["roc_auc"]
    )
    (tmp_path / "known.yml").write_text("plan: before\nvisits: {available: after}\n")
    code, out, _ = run(monkeypatch, capsys, *words, "--availability", tmp_path / "known.yml")
    gate = {leak["column"]: leak["gate"] for leak in json.loads(out)["leaks"]}
    assert code == 3 and gate["visits"] == gate["spend"] == "availability" and "plan" not in gate
    (tmp_path / "odd.yml").write_text("plan: perhaps\n")
    code, _, err = run(monkeypatch, capsys, *words, "--availability", tmp_path / "odd.yml")
    assert code == 2 and "plan" in err and "before or after" in err


def test_a_table_whose_newest_rows_contradict_its_folds_is_refused_unless_allowed(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(4)
    day, hint, size = np.sort(rng.integers(0, 500, 2000)), rng.normal(size=2000), rng.normal(size=2000)
    turned = np.where(day < 400, 2.0, -2.0)  # what the hint says of the old rows is not so of the newest fifth
    left = rng.random(2000) < 1 / (1 + np.exp(-turned * hint))
    pd.DataFrame({"day": day, "hint": hint, "size": size, "left": left}).to_csv(tmp_path / "t.csv", index=False)
    words = ["fit", "x", "--table", tmp_path / "t.csv", "--label", "left", "--models", tmp_path]
    words += ["--repeats", "1", "--json"]
    code, out, err = run(monkeypatch, capsys, *words, "--time", "day")
    report = json.loads(out)
    assert code == 3 and [leak["gate"] for leak in report["leaks"]] == ["time_split"] and not (tmp_path / "x").exists()
    assert report["cross_validation"]["roc_auc"] > report["time_split"]["roc_auc"] + gates.GAP
    assert "random split far above time split" in err
    code, out, _ = run(monkeypatch, capsys, *words, "--time", "day", "--allow", "time")
    assert code == 0 and json.loads(out)["status"] == "fitted" and (tmp_path / "x").exists()
    code, out, _ = run(monkeypatch, capsys, *words)  # nobody says what is new
    assert code == 0 and json.loads(out)["leaks"] == []


def test_rows_without_a_time_neither_make_nor_hide_a_gap_to_the_newest_rows():
    rng = np.random.default_rng(6)
    hint, day = rng.normal(size=3000), np.where(np.arange(3000) < 1000, np.arange(3000), np.nan)
    frame = pd.DataFrame({"day": day, "hint": hint, "size": rng.normal(size=3000)})
    asked = Asked(label="left", time="day", repeats=1)

    def found(slope: np.ndarray) -> dict:
        left = rng.random(3000) < 1 / (1 + np.exp(-slope * hint))
        return fitted("x", frame.assign(left=left.astype(int)), asked, lambda seed: LogisticRegression()).report

    dated = np.arange(3000) < 1000
    easy = found(np.where(dated, 0.5, 3.0))  # whom nobody dated are easy to tell; early and late are alike
    assert easy["cross_validation"]["roc_auc"] > easy["time_split"]["roc_auc"] + gates.GAP
    assert easy["status"] == "fitted" and easy["time_split"]["random_roc_auc"] < 0.75
    hidden = found(np.where(np.arange(3000) < 800, 3.0, 0.0))  # no hint for the newest, nor for whom nobody dated
    assert hidden["cross_validation"]["roc_auc"] < hidden["time_split"]["roc_auc"] + gates.GAP
    assert hidden["status"] == "refused" and [leak["gate"] for leak in hidden["leaks"]] == ["time_split"]


def test_the_readmes_lines_for_a_notebook_run(files, tmp_path, monkeypatch, capsys):
    (block,) = re.findall(r"```python\n(from ml import .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(block.replace("\n\n", "\n").splitlines()) == 5
    for name, seed in (("customers", 0), ("later", 1)):
        frame = shop(600, seed).rename(columns={"account no": "customer_id"})
        frame.assign(churned=frame.pop("left")).to_csv(tmp_path / f"{name}.csv", index=False)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    status, known, later = capsys.readouterr().out.split()
    assert status == "fitted" and float(known) == pytest.approx(float(later), abs=0.1)


def test_words_that_know_the_answer_are_flagged():
    rng = np.random.default_rng(1)
    words = [" ".join(rng.choice(["late", "good", "again", "price"], 5)) for _ in range(300)]
    label = pd.Series(rng.integers(0, 2, 300).astype(float))
    telling = [f"{text} account closed" if one else text for text, one in zip(words, label, strict=True)]
    assert told_by_words(pd.DataFrame({"note": words}), label, 1) is None
    flag = told_by_words(pd.DataFrame({"note": telling}), label, 1)
    assert (flag.gate, flag.column) == ("single_feature", "note") and "its words alone" in flag.why


def test_json_holds_no_nan():
    found = plain({"a": float("nan"), "b": [1.0, float("inf")], 3: {"c": -float("inf")}})
    assert found == {"a": None, "b": [1.0, None], "3": {"c": None}}


@pytest.mark.real
def test_known_leaks_of_a_real_table_and_silence_on_honest_ones():
    cases = {
        "telco_churn_extended/telco_churn_extended.csv": (
            "Churn Value",
            {"Churn Label", "Churn Score", "Churn Reason"},
        ),
        "telco_churn/telco_churn.csv": ("Churn", set()),
        "online_shoppers/online_shoppers_intention.csv": ("Revenue", set()),
        "bank_marketing/bank_full.csv.gz": (
            "y",
            set(),
        ),  # duration needs its declaration: by itself it is below the gate
    }
    for name, (column, wanted) in cases.items():
        frame = read_table(shared(name))
        label = labels(frame[column], column).values
        known = schema(frame.drop(columns=column))
        flags = gates.leaks(typed(frame, known.kinds), label, list(known.kinds))
        assert {flag.column for flag in flags} == wanted, name


@pytest.mark.real
def test_a_real_prior_shift_raises_the_alarm_and_the_shuffled_table_does_not():
    frame = read_table(shared("bank_marketing/bank_full.csv.gz")).drop(columns="duration")
    label = labels(frame["y"], "y")[0]
    rows = typed(frame.drop(columns="y"), schema(frame.drop(columns="y")).kinds)
    for order, alarm in ((np.arange(len(rows)), True), (np.random.default_rng(0).permutation(len(rows)), False)):
        then, now = order[:36_000], order[36_000:]
        found = drift.compared(drift.frozen(rows.iloc[then]), rows.iloc[now], label[then].mean(), then.size, label[now])
        assert found["alarm"] == alarm, found["reasons"]
