"""Is it told when the platform is late or a source odd, and what was made of what?"""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from pyspark.errors import PySparkException
from pyspark.sql import functions as F

from cdp_spark import cli, failures, runner
from cdp_spark import watch as watching
from cdp_spark.config.load import ConfError
from cdp_spark.config.models import Alerts
from cdp_spark.contracts import ContractError
from cdp_spark.cost import Meter
from cdp_spark.governance.health import alerts
from cdp_spark.governance.lineage import emit, events
from cdp_spark.jars import JarError
from cdp_spark.job import Job
from cdp_spark.lock import RunError
from cdp_spark.pipeline import between
from cdp_spark.storage import StorageError

TODAY = date(2026, 1, 31)
LIMITS = Alerts()


def landings(source: str, *rows: int, until: date = TODAY) -> list[dict]:
    first = until - timedelta(days=len(rows) - 1)
    return [
        {"source": source, "ingest_date": first + timedelta(days=n), "rows_in": count, "status": "landed"}
        for n, count in enumerate(rows)
    ]


def test_a_fresh_platform_with_usual_volumes_is_well():
    accounts = landings("crm", 100, 110, 90) + landings("web", 5)
    assert alerts(accounts, TODAY, TODAY, ["crm", "web"], LIMITS) == []


def test_each_thing_that_is_odd_is_told_once():
    yesterday = TODAY - timedelta(days=1)
    accounts = landings("low", 100, 100, 49) + landings("high", 100, 100, 201) + landings("late", 9, until=yesterday)
    accounts += [{"source": "bad", "ingest_date": TODAY, "rows_in": 0, "status": "failed"}]
    told = alerts(accounts, TODAY, TODAY, ["low", "high", "late", "bad"], LIMITS)
    assert [line.split(" ", 2)[1] for line in told] == ["low", "high", "late", "bad"]
    assert "brought 49 rows" in told[0] and "usual are 100" in told[0]


def test_a_platform_that_stands_still_is_told():
    accounts = landings("crm", 100, until=TODAY - timedelta(days=2))
    told = alerts(accounts, TODAY - timedelta(days=2), TODAY, ["crm"], LIMITS)
    assert len(told) == 1 and "2 days ago" in told[0]
    assert alerts([], None, TODAY, ["crm"], LIMITS) == ["nothing was ever published: run `cdp run`"]


def write(step: str, table: str, version: int, minute: int, **reads: int) -> dict:
    return {"run_id": "r", "step": step, "table_name": table, "version": version, "rows": 3,
            "reads": {name.replace("__", "."): n for name, n in reads.items()},
            "committed_at": datetime(2026, 1, 31, 3, minute)}  # fmt: skip


def test_lineage_names_what_each_step_read_and_wrote(tmp_path):
    audit = [write("profile", "gold.profiles", 7, 9, identity__members=4), write("resolve", "identity.edges", 2, 1),
             write("resolve", "identity.members", 4, 2, silver__identifiers=5, identity__members=3)]  # fmt: skip
    emit(events(audit, "shop", "s3://bucket/lake"), str(tmp_path / "events.jsonl"))
    first, second = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert (first["job"]["name"], second["job"]["name"]) == ("resolve", "profile")
    assert [one["name"] for one in first["inputs"]] == ["silver.identifiers"]
    assert [one["name"] for one in first["outputs"]] == ["identity.edges", "identity.members"]
    assert second["inputs"][0]["facets"]["version"]["datasetVersion"] == "4"
    assert second["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 3
    assert first["eventType"] == "COMPLETE" and first["schemaURL"].startswith("https://openlineage.io/spec/")
    emit(events(audit[::-1], "shop", "s3://bucket/lake"), str(tmp_path / "again.jsonl"))
    assert (tmp_path / "again.jsonl").read_text() == (tmp_path / "events.jsonl").read_text()


def test_lineage_reaches_a_server(tmp_path):
    posted = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        audit = [write("resolve", "identity.edges", 2, 1), write("profile", "gold.profiles", 7, 9)]
        emit(events(audit, "shop", "s3://bucket/lake"), f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert [(path, event["job"]["name"]) for path, event in posted] == [
        ("/api/v1/lineage", "resolve"),
        ("/api/v1/lineage", "profile"),
    ]


def test_the_cost_of_a_step_is_that_of_its_own_stages(spark):
    def nowhere(frame) -> None:
        frame.write.format("noop").mode("overwrite").save()

    nowhere(spark.range(10_000).repartition(3))
    meter = Meter(spark)
    nowhere(spark.range(10_000))
    assert meter.read()["shuffle_bytes"] == 0
    nowhere(spark.range(10_000).repartition(3))
    cost = meter.read()
    assert cost["shuffle_bytes"] > 10_000 and cost["spill_bytes"] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("java.io.IOException: No space left on device", "a disk is full"),
        ("java.lang.OutOfMemoryError: Java heap space", "memory ran out: raise driver_memory"),
        ("org.apache.hadoop.net.ConnectTimeoutException: ann@example.com", "a store did not answer"),
        ("Checkpoint block rdd_7_0 not found", "a worker was lost"),
        ("something else about ann@example.com", "in Spark (SparkRuntimeException, USER_RAISED_EXCEPTION)"),
    ],
)
def test_what_failed_below_us_is_told_in_words_of_ours(spark, words, told):
    with pytest.raises(PySparkException) as error:
        spark.range(1).select(F.raise_error(F.lit(words))).collect()
    message = failures.failure("profile", error.value)
    assert message.startswith(f"step profile failed: {told}") and "ann@" not in message


def failing(monkeypatch, error: Exception) -> RunError:
    """How a step ends in which `error` is raised."""

    def run(job):
        raise error

    monkeypatch.setattr(runner, "import_module", lambda _: SimpleNamespace(run=run))
    monkeypatch.setattr(runner.jobs, "checkpoints", nullcontext)
    with pytest.raises(RunError) as told:
        runner._run_one(None, between("profile", "profile")[0])
    return told.value


def test_an_error_of_others_in_a_step_is_told_by_its_kind_and_can_be_tried_again(monkeypatch):
    foreign = type("Foreign", (Exception,), {"__module__": "mlflow.exceptions"})
    for error in (ValueError("ann@example.com is no number"), foreign("ann@example.com"), KeyError("ann@example.com")):
        ended = failing(monkeypatch, error)
        assert ended.exit_code == 3
        assert f"step profile failed: unexpectedly ({type(error).__name__} at cdp_spark/job.py:" in str(ended)
        assert "ann@" not in str(ended) and "CDP_TRACE=1" in str(ended)


def test_our_own_errors_in_a_step_speak_and_only_those_about_the_configuration_are_final(monkeypatch):
    ended = failing(monkeypatch, ConfError(["conf/x.yml: colour: unknown"]))
    assert (ended.exit_code, "colour: unknown" in str(ended)) == (2, True)
    ended = failing(monkeypatch, ContractError("gold.things: nothing was written"))
    assert (ended.exit_code, "nothing was written" in str(ended)) == (3, True)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ValueError("ann@example.com"), 3, "unexpectedly (ValueError"),
        (json.JSONDecodeError("no", "ann@example.com", 0), 3, "unexpectedly (JSONDecodeError"),
        (OSError(28, "No space left on device"), 3, "a disk is full"),
        (RunError("another run", 4), 4, "another run"),
        (JarError("a JAR is missing"), 2, "a JAR is missing"),
        (ConfError(["conf/x.yml: y: unknown"]), 2, "1 problem(s) in the configuration"),
    ],
)
def test_whatever_goes_wrong_ends_in_one_message_and_a_code(monkeypatch, capsys, error, code, words):
    monkeypatch.delenv("CDP_TRACE", raising=False)
    monkeypatch.setenv("CDP_LOG", "json")
    assert cli.told(error) == code
    line = json.loads(capsys.readouterr().err)
    assert line["level"] == "error" and words in line["message"] and "ann@" not in line["message"]
    monkeypatch.setenv("CDP_LOG", "")
    monkeypatch.setenv("CDP_TRACE", "1")
    assert cli.told(error) == code
    assert words in capsys.readouterr().err.splitlines()[-1 - ("problem" in words)]


def test_progress_is_a_line_of_json_where_it_is_asked_for(monkeypatch, capsys):
    monkeypatch.setenv("CDP_LOG", "json")
    job = SimpleNamespace(run_id="r", date=TODAY, lake=SimpleNamespace(step="resolve"))
    for message in ("3 people", "WARNING 1 source is late"):
        Job.log(job, message)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("info", "3 people"),
        ("warning", "1 source is late"),
    ]
    assert all((one["run_id"], one["date"], one["step"]) == ("r", "2026-01-31", "resolve") for one in lines)
    assert all(datetime.fromisoformat(line["at"]).utcoffset() == timedelta(0) for line in lines)


@pytest.fixture
def watched(monkeypatch):
    """(endings of the looks to come, pauses between them, what each accepted) of a watch without lake and sleep."""
    endings, pauses, accepted = [], [], []

    def look(job, steps, accept):
        accepted.append(accept)
        if ending := endings.pop(0):
            raise ending
        return ()

    job = SimpleNamespace(log=lambda _: None)
    for name, fake in (("look", look), ("refuse_older", lambda *_: None), ("refuse_broken_off", lambda *_: None),
                       ("jobs", SimpleNamespace(start=lambda *_, **__: job)),
                       ("time", SimpleNamespace(monotonic=lambda: 0.0, sleep=pauses.append))):  # fmt: skip
        monkeypatch.setattr(watching, name, fake)
    return endings, pauses, accepted


def test_a_gate_can_be_opened_for_a_look(watched):
    watched[0].append(None)
    asked = ["--conf", "conf", "--once", "--accept", "resolve"]
    assert CliRunner().invoke(watching.watch, asked).exit_code == 0 and watched[2] == [("resolve",)]


def test_a_watch_outlives_an_outage_and_gives_up_on_one_that_does_not_end(watched):
    endings, pauses, _ = watched
    away, busy = StorageError("the store is away"), RunError("another run holds the lake", 4)
    endings += [away, None, busy, *[away] * 6]
    ended = CliRunner().invoke(watching.watch, ["--conf", "conf"])
    assert ended.exception is away and endings == []
    assert [seconds / 60 for seconds in pauses] == [20, 10, 10, 20, 40, 60, 60, 60]
    assert "the store is away; the next look is in 20 minutes" in ended.stderr


def test_a_watch_ends_at_once_where_another_look_would_not_help(watched):
    endings, pauses, _ = watched
    for given, asked in ((RunError("a day too old", 2), []), (StorageError("away"), ["--once"])):
        endings.append(given)
        assert CliRunner().invoke(watching.watch, ["--conf", "conf", *asked]).exception is given
    assert pauses == []
