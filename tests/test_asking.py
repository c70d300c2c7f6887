"""What a shell is told of audiences, consent and effects: numbers without names, and clear words for mistakes."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import yaml

from cdp_spark.activation.deliver import deliver_all
from cdp_spark.cli import main
from cdp_spark.config.load import load
from jobs import audiences as audiences_job
from jobs import journeys as journeys_job
from tests.conftest import ROOT
from tests.forty import DAY, PEOPLE

FILES = {
    "audiences/vip.yml": {"description": "x", "owner": "x", "purpose": "marketing_email", "where": "tier = 'gold'",
                          "holdout": 0.2},
    "journeys/hello.yml": {"description": "x", "owner": "x", "purpose": "marketing_email", "audience": "vip",
                           "steps": {"hello": {"send": "hello", "to": "crm"}, "pause": {"wait": "1 days"}}},
    "destinations/crm.yml": {"description": "x", "protocol": "s3_files", "journeys": ["hello"], "sync": "upsert",
                             "prefix": "crm", "fields": {"action_id": {"column": "action_id"}}},
}  # fmt: skip


@pytest.fixture
def asked(job, tmp_path, capsys, monkeypatch):
    """Calls `cdp ...` on a lake of forty people; the answer, the words for people who err, and the exit code."""
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    for name in ("audiences", "destinations", "journeys"):
        shutil.rmtree(conf / name)
        (conf / name).mkdir()
    for file, body in FILES.items():
        (conf / file).write_text(yaml.safe_dump(body))
    here = type(job)(**{**vars(job), "conf": load(conf)})
    audiences_job.run(here)
    journeys_job.run(here)
    deliver_all(here)

    def call(*words: str, lake: str = job.lake.root) -> tuple[str, str, int]:
        places = ["--lake", lake, "--conf", str(conf), "--date", str(DAY)]
        monkeypatch.setattr(sys, "argv", ["cdp", *words, *places])
        code = main()
        out = capsys.readouterr()
        return out.out, out.err, code

    yield call
    job.spark.conf.set("spark.sql.shuffle.partitions", "1")  # the command set its environment's


@pytest.mark.slow
def test_answers_and_mistakes(asked, tmp_path):
    """One lake, every question: each is asked once rightly, and once as people get it wrong."""
    out, _, code = asked("audience", "preview", "vip", "--json")
    assert code == 0 and sum(json.loads(out)["funnel"].values()) == 40
    out, _, code = asked("audience", "changes", "vip")
    assert code == 0 and out.split()[1:3] == ["entered", "first"]
    out, _, code = asked("audience", "journey", "hello", "--json")
    told = json.loads(out)
    acted = told["actions"][0]["people"]
    assert code == 0 and [(row["step"], row["people"]) for row in told["people"]] == [("pause", acted)]
    assert not any(person in out for person in PEOPLE)
    out, _, code = asked("consent", "show", "p05")
    assert code == 0 and "marketing_email" in out and "p05@x.org" not in out
    (tmp_path / "list.csv").write_text("action_id\nx\n")
    out, _, code = asked("audience", "reconcile", "crm", "--receiver", str(tmp_path / "list.csv"))
    assert code == 1 and f"{acted} missing there, 1 unexpected" in out
    wrong = {
        ("audience", "preview", "vipp"): "did you mean 'vip'",
        ("audience", "changes", "o'hara"): 'no audience "o\'hara"',
        ("audience", "journey", "helo"): "did you mean 'hello'",
        ("audience", "reconcile", "crn", "--receiver", "x.csv"): "did you mean 'crm'",
        ("audience", "reconcile", "crm", "--receiver", "/nowhere/x.csv"): "no such file",
        ("audience", "reconcile", "crm", "--receiver", "x.txt"): "expected .csv, .jsonl",
        ("consent", "show", "nobody"): "nobody of that name",
        ("consent", "show", "p05", "--at", "noon"): "is not a moment",
        ("measure", "lift", "vipp"): "did you mean 'vip'",
        ("measure", "lift", "vip", "--kpi", "joy"): "is not one of",
        ("measure", "lift", "vip", "--days", "30"): "too early to tell",
    }
    for words, expected in wrong.items():
        out, err, code = asked(*words)
        assert code and expected in err and "Traceback" not in err, (words, err)
    for words in (("audience", "preview", "vip"), ("consent", "show", "p05"), ("measure", "lift", "vip")):
        _, err, code = asked(*words, lake=str(tmp_path / "no"))
        assert code == 3 and "no lake is there" in err
