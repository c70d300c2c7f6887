"""Evaluation: measures against a reference that counts pairs, and the ceiling of exact linking."""

from __future__ import annotations

import json
from datetime import date
from itertools import combinations

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_spark.identity.evaluate import TruthError, ceiling, evaluate, read_labels
from tests.lakes import resolved_as_it_stands

LABELS = st.lists(st.tuples(st.none() | st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=25)


def frames(labels):
    """Members and truth of records 0, 1, ... with (person or None, entity) each."""
    rows = [("s", f"{n:03}", person, entity) for n, (person, entity) in enumerate(labels)]
    both = pd.DataFrame(rows, columns=["source", "record_id", "person_id", "entity_id"])
    members = both[both["person_id"].notna()]
    return members[["source", "record_id", "person_id"]], both[["source", "record_id", "entity_id"]]


def counted(labels):
    """The measures by their definition: a loop over pairs, a loop over records."""
    labels = [(f"alone {n}" if person is None else person, entity) for n, (person, entity) in enumerate(labels)]
    pairs = list(combinations(labels, 2))
    said, true = sum(a[0] == b[0] for a, b in pairs), sum(a[1] == b[1] for a, b in pairs)
    right = sum(a == b for a, b in pairs)
    size = len(labels)
    both = [sum(x == y for y in labels) for x in labels]
    persons = [sum(x[0] == y[0] for y in labels) for x in labels]
    entities = [sum(x[1] == y[1] for y in labels) for x in labels]
    return {
        "pairwise_p": right / said if said else 1.0,
        "pairwise_r": right / true if true else 1.0,
        "b3_p": sum(n / m for n, m in zip(both, persons, strict=True)) / size,
        "b3_r": sum(n / m for n, m in zip(both, entities, strict=True)) / size,
        "over_merged_share": sum(n < m for n, m in zip(both, persons, strict=True)) / size,
        "split_share": sum(n < m for n, m in zip(both, entities, strict=True)) / size,
        "true_pairs": true,
        "predicted_pairs": said,
        "true_positive_pairs": right,
    }


@settings(max_examples=60, deadline=None, derandomize=True)
@given(labels=LABELS)
def test_measures_equal_counting(labels):
    found, wanted = evaluate(*frames(labels)), counted(labels)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=6e-5)
    assert found["records_without_cluster"] == sum(person is None for person, _ in labels)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(labels=LABELS)
def test_measures_ignore_row_order_and_strangers(labels):
    members, truth = frames(labels)
    wanted = evaluate(members, truth)
    stranger = pd.DataFrame([("other", "1", 0)], columns=members.columns)
    tied = {"entities_in_largest_cluster": wanted["entities_in_largest_cluster"]}  # of equals the first one is told
    assert evaluate(members[::-1], truth[::-1]) | tied == wanted
    assert evaluate(pd.concat([members, stranger]), truth) == wanted | {"members_not_in_truth": 1}


def test_what_cannot_be_compared_is_refused():
    members, truth = frames([(1, 1), (1, 2)])
    for bad in (pd.concat([truth, truth]), truth.assign(entity_id=None), truth.drop(columns="entity_id"), truth[:0]):
        with pytest.raises(TruthError, match="truth"):
            evaluate(members, bad)
    with pytest.raises(TruthError, match="members: a record occurs more than once"):
        evaluate(pd.concat([members, members]), truth)
    two = members.assign(source=["crm", "web"], record_id="1")  # one id in two sources: it is the truth that is wrong
    with pytest.raises(TruthError, match="truth: no column record_id, entity_id; it has a, b"):
        evaluate(two, pd.DataFrame({"a": [1], "b": [2]}))


def test_ceiling_links_by_shared_values_within_one_entity():
    truth = pd.DataFrame(
        [("s", str(n), entity) for n, entity in enumerate("AAAABB")], columns=["source", "record_id", "entity_id"]
    )
    rows = [("0", "email", "x"), ("1", "email", "x"), ("1", "phone", "7"), ("2", "phone", "7"), ("3", "email", "7")]
    rows += [("4", "email", "x"), ("5", "email", "y")]  # B's x ties it to nobody of A
    seen = pd.DataFrame([("s", *row) for row in rows], columns=["source", "record_id", "namespace", "value"])
    # A: a chain of three and one alone, B: two alone. 3 of 7 true pairs, none wrong
    assert ceiling(seen, truth) == round(2 * (3 / 7) / (1 + 3 / 7), 4)
    assert ceiling(seen, truth.assign(entity_id=["A", "A", "A", "D", "B", "C"])) == 1.0
    assert ceiling(seen[:0], truth) == 0.0


def test_labels_are_read_as_text(tmp_path):
    rows = pd.DataFrame({"record_id": ["007", "NA"], "entity_id": ["1", "02"]})
    rows.to_csv(tmp_path / "truth.csv", index=False)
    rows.to_parquet(tmp_path / "truth.parquet")
    for name in ("truth.csv", "truth.parquet"):
        assert read_labels(tmp_path / name).to_dict("list") == rows.to_dict("list")


@pytest.mark.parametrize("name", ["none.csv", "none.parquet"])
def test_a_truth_that_is_not_there_is_told_before_spark_starts(name, tmp_path, monkeypatch):
    from cdp_spark.identity import cli

    monkeypatch.setattr(cli, "current_members", lambda *_: pytest.fail("the lake was opened"))
    gone = CliRunner().invoke(cli.identity, ["evaluate", "--lake", "x", "--truth", str(tmp_path / name)])
    assert gone.exit_code == 1
    assert f"{name}: no such file; expected CSV or Parquet with source, record_id, entity_id" in gone.output


def test_command_judges_the_current_members(lake, tmp_path):
    from cdp_spark.identity.cli import identity

    day = date(2026, 1, 1)
    rows = [("s", "1", "p1", None), ("s", "2", "p0", day), ("s", "2", "p1", None), ("s", "3", "p2", None)]
    rows = [(f"{s}|{r}", s, r, p, day if until is None else date(2025, 1, 1), until) for s, r, p, until in rows]
    ddl = "subject_key string, source string, record_id string, person_id string, valid_from date, valid_to date"
    lake.write("identity.members", lake.spark.createDataFrame(rows, ddl))
    resolved_as_it_stands(lake, day)
    truth = tmp_path / "truth.csv"
    truth.write_text("source,record_id,entity_id\ns,1,a\ns,2,a\ns,3,b\n")
    done = CliRunner().invoke(identity, ["evaluate", "--lake", lake.root, "--truth", str(truth), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["pairwise_f1"] == 1.0
    gone = CliRunner().invoke(identity, ["evaluate", "--lake", str(tmp_path / "none"), "--truth", str(truth)])
    assert gone.exit_code == 1
    assert "run the step `resolve` first" in gone.output
