"""A delivery that is killed, crowded, or out of disk: readers never see half of it, and the next run makes it whole.

Real processes of the real command, killed by tests/kill. `make test-delivery-faults` kills at every point.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from pyspark.sql import functions as F

from cdp_spark.activation.deliver import deliver_all
from cdp_spark.config.load import load
from jobs import audiences as audiences_job
from tests.conftest import ROOT
from tests.forty import DAY, PEOPLE, on, says
from tests.lakes import BIN, environment
from tests.reader import holds, manifests
from tests.receiver import HOW, receiver  # noqa: F401  a fixture

LONG = pytest.mark.skipif(not os.environ.get("CDP_LONG"), reason="many real processes: make test-delivery-faults")
VIP = {"description": "x", "owner": "x", "purpose": "marketing_email", "where": "tier = 'gold'"}
CRM = {"description": "x", "protocol": "s3_files", "audiences": ["vip"], "sync": "mirror", "prefix": "crm",
       "fields": {"person_id": {"column": "person_id"}, "first_name": {"column": "first_name"}},
       "may_leave": ["none", "pseudonym", "direct"]}  # fmt: skip
FIRST, SECOND = set(PEOPLE[1:29]), set(PEOPLE[1:29]) - {"p05"}
# Where a delivery may die -> what a reader holds then. The pointer decides, and nothing before it.
POINTS = {
    "activation.deliveries before": FIRST,
    "activation.deliveries after": FIRST,
    "EXPORTS/crm data": FIRST,
    "manifest.json before": FIRST,
    "manifest.json after": FIRST,
    "activation.sent during": FIRST,
    "activation.sent after": FIRST,
    "latest.json before": FIRST,
    "latest.json after": SECOND,
}


@pytest.fixture
def place(job, tmp_path):
    """A deployment on disk, its first day delivered, its second day's audience made; p05 withdrew in between."""
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    for name in ("audiences", "destinations", "journeys"):
        shutil.rmtree(conf / name)
    for file, body in {"audiences/vip.yml": VIP, "destinations/crm.yml": CRM}.items():
        (conf / file).parent.mkdir()
        (conf / file).write_text(yaml.safe_dump(body))
    first = replace(job, conf=load(conf), conf_dir=str(conf))
    audiences_job.run(first)
    deliver_all(first)
    second = on(first, DAY + timedelta(1))
    says(job, "p05", "withdrawn", second.date)
    audiences_job.run(second)
    return second


def moved(job, to: Path):
    """The same on copies of lake and exports."""
    shutil.copytree(job.lake.root, to / "lake")
    shutil.copytree(job.exports, to / "exports")
    return replace(job, lake=replace(job.lake, root=str(to / "lake")), exports=str(to / "exports"))


def command(job) -> list[str]:
    places = ["--conf", job.conf_dir, "--lake", job.lake.root, "--drops", job.drops, "--exports", job.exports]
    return [str(BIN / "cdp"), "run", *places, "--date", str(job.date), "--from", "deliver", "--to", "deliver"]


def killed(job, at: str) -> int:
    mark = Path(job.lake.root).parent / "killed"
    own = {"PYTHONPATH": f"{ROOT}/tests/kill:{ROOT}", "CDP_TEST_KILLED": str(mark)}
    own["CDP_TEST_KILL"] = at.replace("EXPORTS", job.exports)
    return subprocess.run(command(job), env=environment(**own), cwd=ROOT, capture_output=True).returncode


def view(job) -> set[str]:
    """Whom a reader holds who knows the pointer only."""
    return {
        row["person_id"] for row in holds(lambda key: (Path(job.exports) / "crm" / key).read_bytes(), ("person_id",))
    }


def books(job) -> tuple[set, set]:
    """What the ledger says, without times and runs."""
    sent = job.lake.read("activation.sent").drop("sent_at").withColumn("values", F.to_json("values"))
    told = job.lake.read("activation.deliveries").select("destination", "delivery_id", "status", "rows")
    return {tuple(row) for row in sent.collect()}, {tuple(row) for row in told.collect()}


def mended(job) -> None:
    """The next run; the lock of the dead one is in nobody's way."""
    deliver_all(job)
    assert view(job) == SECOND
    chain = manifests(lambda key: (Path(job.exports) / "crm" / key).read_bytes())
    assert [[f["operation"] for f in one["files"]] for one in chain] == [["upsert"], ["remove"]]


@pytest.mark.slow
def test_a_delivery_killed_before_its_pointer_was_never_there(place, tmp_path):
    """The most a delivery can have done and be invisible: data, manifest and ledger are written, the pointer is not."""
    job = moved(place, tmp_path / "killed")
    assert killed(job, "latest.json before") < 0
    assert view(job) == FIRST
    mended(job)
    deliver_all(place)  # undisturbed
    assert books(job) == books(place)


@LONG
@pytest.mark.parametrize("number", range(len(POINTS)), ids=list(POINTS))
def test_a_delivery_may_be_killed_anywhere(place, tmp_path, number):
    at = list(POINTS)[number]
    job = moved(place, tmp_path / "killed")
    assert killed(job, at) < 0
    assert view(job) == POINTS[at]
    mended(job)
    before = books(job)
    deliver_all(job)
    assert books(job) == before
    deliver_all(place)
    assert before == books(place)


@LONG
@pytest.mark.parametrize("at", ["activation.sent after", "posting"])
def test_a_delivery_killed_before_or_while_it_posts(place, receiver, at):
    """What the receiver took under a key it takes once, and what it did not take comes with the next run."""
    conf = Path(place.conf_dir)
    how = HOW | {"endpoint": "crm", "batch_rows": 5}
    body = CRM | {"protocol": "http", "prefix": "post", "http": how, "fields": {"person_id": {"column": "person_id"}}}
    (conf / "destinations/crm.yml").unlink()
    (conf / "destinations/post.yml").write_text(yaml.safe_dump(body))
    with (conf / "env/local.yml").open("a") as file:
        file.write(f"\nendpoints: {{crm: {receiver['url']}}}\n")
    job = replace(place, conf=load(conf))
    if at == "posting":
        receiver["plan"] = ["ok", "taken, then killed"]
        process = subprocess.Popen(command(job), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        receiver["kill"] = lambda: os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL and 0 < len(receiver["taken"]) < len(SECOND)
    else:
        assert killed(job, at) < 0 and receiver["taken"] == []
    deliver_all(job)
    assert Counter(row["person_id"] for _, row in receiver["taken"]) == dict.fromkeys(SECOND, 1)
    requests = receiver["requests"]
    deliver_all(job)
    assert receiver["requests"] == requests


@LONG
def test_two_deliveries_at_once(place):
    both = [
        subprocess.Popen(command(place), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]  # fmt: skip
    told = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 4], told[0][-1500:] + told[1][-1500:]
    assert any("holds the lake since" in text for text in told)
    assert view(place) == SECOND
    before = books(place)
    mended(place)
    assert books(place) == before


@LONG
def test_a_full_disk(place, tmp_path):
    """A file may not grow beyond 64 KiB: the data of the delivery is larger, and nothing else is."""
    name = F.concat("person_id", F.expr("repeat('x', 8000)"))
    place.lake.write("gold.profiles", place.lake.read("gold.profiles").withColumn("first_name", name))
    job = moved(place, tmp_path / "full")

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))

    done = subprocess.run(command(job), env=environment(), cwd=ROOT, capture_output=True, text=True, preexec_fn=small)
    assert done.returncode == 3, done.stderr[-1500:]
    assert "the disk is full" in done.stderr and "crm/deliveries/" in done.stderr and "xxxx" not in done.stderr
    assert view(job) == FIRST
    deliver_all(job)
    assert view(job) == SECOND
