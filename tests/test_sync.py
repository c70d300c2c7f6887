"""What a receiver holds after every delivery: all who may be there, nobody who may not, whatever changed in between."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from cdp_spark.activation import ledger
from cdp_spark.activation.content import content
from cdp_spark.activation.deliver import deliver_all, take_back
from cdp_spark.activation.objects import DeliveryError
from cdp_spark.activation.plan import may_hold
from cdp_spark.config.activation import Destination, Exclude, Quiet
from cdp_spark.config.leaving import problems
from jobs import audiences as audiences_job
from tests.forty import DAY, RULE, on, says, sha, with_destinations

MIRROR = Destination(
    description="", protocol="s3_files", audiences=["a"], sync="mirror", prefix="x", normalisers="meta_2026_11",
    fields={"EMAIL": {"column": "email", "normaliser": "email"}, "PHONE": {"column": "phone", "normaliser": "phone"},
            "FN": {"column": "first_name", "normaliser": "given_name"}},
)  # fmt: skip
MOVED = ("p03@x.org", "p04@x.org", "p05@x.org")
PHONES = ["+442079460958", "+442079460959", None]


def world(seed: int) -> list[list[tuple]]:
    """Four days of one small list: (person, email, phone, first name); shared values, changes, leavers, returners."""
    draw = random.Random(seed)
    people = [f"p{i}" for i in range(5)]
    days = []
    for _ in range(4):
        inside = [p for p in people if draw.random() < 0.7]
        days.append([(p, draw.choice(["a@x.org", "b@x.org", f"{p}@x.org"]), draw.choice(PHONES),
                      draw.choice(["Ada", "Bo"])) for p in inside])  # fmt: skip
    return days


@pytest.mark.slow
def test_mirrors_follow_any_history(spark):
    """Sixty lists in one frame (each an audience of its own), four deliveries, a receiver who removes first."""
    worlds = {f"w{seed}": world(seed) for seed in range(60)}
    lake = spark.createDataFrame([], "audience string, person_id string, row_id string, input_id string, "
                                     "values map<string,string>, op string, destination string, delivery_id string, "
                                     "sequence int, normalisers string, reason string, sent_at timestamp")  # fmt: skip
    receiver: dict[str, dict[tuple, int]] = {name: {} for name in worlds}
    names, again = list(MIRROR.fields), 0
    for day in range(4):
        rows = [(name, *row) for name, days in worlds.items() for row in days[day]]
        frame = spark.createDataFrame(rows, "audience string, person_id string, email string, phone string, "
                                            "first_name string")  # fmt: skip
        done = spark.createDataFrame([("m", f"d{i}", "confirmed") for i in range(day)] + [("m", "no", "intent")],
                                     "destination string, delivery_id string, status string")  # fmt: skip
        before = ledger.held(lake, done, "m", seen_before_confirmed=False).localCheckpoint()
        now = may_hold(frame, MIRROR, "GB", before).localCheckpoint()
        whole = content(frame, MIRROR, "GB")
        assert ids(now) == ids(whole), "what is known from yesterday is what would be made today"
        again += sum(row["EMAIL"] is None and row["PHONE"] is None for row in now.collect())
        found = ledger.changes(now, before, lake, "m", MIRROR)
        for row in found.removes.collect():
            gone = {(f, row[f]) for f in names if row[f]}
            assert gone and row["FN"] is None
            for pair in gone:
                receiver[row["_audience"]].pop(pair, None)
        for row in found.adds.collect():
            receiver[row["_audience"]] |= {(f, row[f]): day for f in names[:2] if row[f]}
        about = {"destination": "m", "delivery_id": f"d{day}", "sequence": day + 1, "sent_at": None}
        rows = ledger.entries(found, MIRROR, names, about).withColumn("sent_at", F.lit(None).cast("timestamp"))
        lake = lake.unionByName(rows).localCheckpoint()
        for name, days in worlds.items():
            wanted = {("EMAIL", sha(email)) for _, email, _, _ in days[day]}
            wanted |= {("PHONE", sha(phone[1:])) for _, _, phone, _ in days[day] if phone}
            assert set(receiver[name]) == wanted, (name, day)
    assert again > 20, "nobody's row was known: nothing was compared"


def ids(rows) -> list[tuple]:
    return sorted(tuple(row) for row in rows.select("_audience", "_row_id").collect())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sync": "mirror", "fields": {"tier": {"column": "tier"}}}, "needs fields that name a row"),
        ({"sync": "mirror", "fields": {"email": {"column": "email"}}, "key": ["email"],
          "may_leave": ["direct"]}, "the ledger of sent values keeps none"),
        ({"fields": {"person_id": {"column": "person_id"}}, "key": ["persn_id"]}, "did you mean 'person_id'"),
        ({"sync": "mirror", "protocol": "http", "http": {"endpoint": "crmm"},
          "fields": {"person_id": {"column": "person_id"}}}, "did you mean 'crm'"),
    ],
)  # fmt: skip
def test_a_destination_that_could_not_remove_is_refused(conf, changes, told):
    env = conf.env.model_copy(update={"endpoints": {"crm": "http://127.0.0.1:1/"}})
    base = {"description": "", "protocol": "s3_files", "audiences": ["winback"], "prefix": "x"}
    found = problems(conf.model_copy(update={"env": env}), "x.yml", Destination.model_validate(base | changes))
    assert told in "\n".join(found)


def history(folder: Path, pointer: dict | None = None) -> list[dict]:
    """Manifests from the first to the one in force, as a reader walks them who knows the pointer only."""
    told, found = pointer or json.loads((folder / "latest.json").read_text()), []
    while told:
        body = (folder / told["manifest"]).read_bytes()
        assert hashlib.sha256(body).hexdigest() == told["manifest_sha256"]
        found.append(json.loads(body))
        told = found[-1]["previous"]
    return found[::-1]


def rows_of(folder: Path, manifest: dict, operation: str) -> list[dict]:
    text = [(folder / f["path"]).read_text() for f in manifest["files"] if f["operation"] == operation]
    return [row for one in text for row in csv.DictReader(io.StringIO(one))]


def test_a_mirror_removes_by_what_was_sent(job):
    """A changed e-mail, a withdrawal, an erasure and a new normaliser set; removals come first in the manifest."""
    ads = {"email": {"column": "email", "normaliser": "email"}}
    fields = {"ads": {"sync": "mirror", "normalisers": "google_2026_11", "fields": ads}}
    first = with_destinations(job, fields)
    audiences_job.run(first)
    deliver_all(first)
    folder = Path(job.exports) / "ads"
    profiles = job.lake.read("gold.profiles")
    changed = F.when(F.col("person_id") == "p03", "p.03@gmail.com").otherwise(F.col("email"))
    job.lake.write("gold.profiles", profiles.withColumn("email", changed).where("person_id <> 'p04'"))
    says(job, "p05", "withdrawn", DAY + timedelta(1))
    second = on(first, DAY + timedelta(1))
    audiences_job.run(second)
    deliver_all(second)
    base, difference = history(folder)
    assert base["previous"] is None and [f["operation"] for f in difference["files"]] == ["remove", "upsert"]
    assert {r["email"] for r in rows_of(folder, difference, "remove")} == {
        sha(f"p{i}@x.org") for i in ("03", "04", "05")
    }
    assert [r["email"] for r in rows_of(folder, difference, "upsert")] == [sha("p03@gmail.com")]
    deliver_all(second)
    assert len(history(folder)) == 2
    fields["ads"]["normalisers"] = "meta_2026_11"  # keeps the dots of Gmail: another hash of the same person
    third = on(with_destinations(job, fields), DAY + timedelta(2))
    deliver_all(third)
    last = history(folder)[-1]
    assert [r["email"] for r in rows_of(folder, last, "remove")] == [sha("p03@gmail.com")]
    assert [r["email"] for r in rows_of(folder, last, "upsert")] == [sha("p.03@gmail.com")]
    says(job, "p05", "granted", DAY + timedelta(3))  # and back again
    fourth = on(third, DAY + timedelta(3))
    audiences_job.run(fourth)
    deliver_all(fourth)
    last = history(folder)[-1]
    assert [r["email"] for r in rows_of(folder, last, "upsert")] == [sha("p05@x.org")] and last["rows"] == 1


@pytest.mark.parametrize("sync", ["mirror", "upsert"])
def test_a_renamed_field_leaves_nobody_behind(job, sync):
    """A removal by the new name would tell nobody's value: a mirror is told anew as a whole, all else must be kept."""
    ads = {"sync": sync, "normalisers": "google_2026_11"}
    named = [{name: {"column": "email", "normaliser": "email"}} for name in ("EMAIL", "email")]
    first = with_destinations(job, {"ads": ads | {"fields": named[0]}})
    audiences_job.run(first)
    deliver_all(first)
    says(job, "p05", "withdrawn", DAY + timedelta(1))
    second = on(with_destinations(job, {"ads": ads | {"fields": named[1]}}), DAY + timedelta(1))
    audiences_job.run(second)
    if sync == "upsert":
        with pytest.raises(DeliveryError, match="ads: holds rows that were named by EMAIL"):
            deliver_all(second)
        return
    take_back(second)  # whatever stopped the run
    there = {sha(f"p{n:02}@x.org") for n in range(2, 29)} - {sha("p05@x.org")}
    last = history(Path(job.exports) / "ads")
    assert len(last) == 1 and {r["email"] for r in rows_of(Path(job.exports) / "ads", last[0], "upsert")} == there
    says(job, "p06", "withdrawn", DAY + timedelta(2))
    deliver_all(on(second, DAY + timedelta(2)))
    last = history(Path(job.exports) / "ads")
    assert [r["email"] for r in rows_of(Path(job.exports) / "ads", last[-1], "remove")] == [sha("p06@x.org")]


@pytest.mark.slow
def test_upsert_takes_back_former_values_and_keeps_those_that_others_have(job):
    """p04 gets the very row of p03, p05 loses the address; p06 left and stays, with the address that p07 had too."""
    fields = {"email": {"column": "email", "normaliser": "email"}, "points": {"column": "points"}}
    first = with_destinations(job, {"ads": {"sync": "upsert", "normalisers": "google_2026_11", "fields": fields}})
    who, lake = F.col("person_id"), job.lake
    shared = F.when(who.isin("p06", "p07"), "s@x.org").otherwise(F.col("email"))
    points = F.when(who == "p07", 7.0).otherwise(1.0)
    lake.write("gold.profiles", lake.read("gold.profiles").withColumns({"email": shared, "points": points}))
    audiences_job.run(first)
    deliver_all(first)
    email = F.when(who == "p04", "p03@x.org").when(who != "p05", F.col("email"))
    tier = F.when(who == "p06", "tin").otherwise(F.col("tier"))
    lake.write("gold.profiles", lake.read("gold.profiles").withColumns({"email": email, "tier": tier}))
    says(job, "p07", "withdrawn", DAY + timedelta(1))
    second = on(first, DAY + timedelta(1))
    audiences_job.run(second)
    deliver_all(second)
    folder = Path(job.exports) / "ads"
    last = history(folder)[-1]
    assert {r["email"] for r in rows_of(folder, last, "remove")} == {sha("p04@x.org"), sha("p05@x.org")}
    assert rows_of(folder, last, "upsert") == []


def test_who_no_removal_could_name_is_not_added(job):
    """Meta takes a name alone, and finds nobody by it for a removal."""
    fields = {
        "EMAIL": {"column": "email", "normaliser": "email"},
        "FN": {"column": "first_name", "normaliser": "given_name"},
    }
    told = {"normalisers": "meta_2026_11", "fields": fields}
    here = with_destinations(job, {"list": told, "ads": told | {"sync": "mirror"}})
    audiences_job.run(here)
    deliver_all(here)
    rows = {name: rows_of(Path(job.exports) / name, history(Path(job.exports) / name)[0], how)
            for name, how in (("list", "replace"), ("ads", "upsert"))}  # fmt: skip
    assert len(rows["ads"]) == 27 and all(row["EMAIL"] for row in rows["ads"])
    assert len(rows["list"]) == 28 and sum(not row["EMAIL"] for row in rows["list"]) == 1  # p01: no e-mail address


@pytest.mark.parametrize("sync", ["full", "mirror"])
def test_quiet_hours_add_nobody_and_lose_nobody(job, sync):
    """The values of all change, p28 leaves, p30 is new, p05 withdraws: in quiet hours only that last thing counts."""
    fields = {"person_id": {"column": "person_id"}, "user.points": {"column": "points"}}
    lake, quiet = job.lake, RULE.model_copy(update={"quiet_hours": Quiet(start="00:00", end="23:59")})
    first = with_destinations(job, {"crm": {"fields": fields, "sync": sync}})
    audiences_job.run(first)
    deliver_all(first)
    day = DAY + timedelta(1)
    tier = F.when(F.col("person_id") == "p30", "gold").when(F.col("person_id") == "p28", "tin").otherwise(F.col("tier"))
    lake.write("gold.profiles", lake.read("gold.profiles").withColumns({"points": F.lit(7.0), "tier": tier}))
    says(job, "p05", "withdrawn", day)
    second = on(replace(first, conf=first.conf.model_copy(update={"audiences": {"vip": quiet}})), day)
    audiences_job.run(second)
    deliver_all(second)
    folder = Path(job.exports) / "crm"
    last = history(folder)[-1]
    if sync == "full":
        found = rows_of(folder, last, "replace")
        assert {row["person_id"] for row in found} == {f"p{n:02}" for n in range(1, 28)} - {"p05"}
        assert {row["user.points"] for row in found} == {"7.0"}
    else:
        assert {row["person_id"] for row in rows_of(folder, last, "remove")} == {"p05"}
        changed = {row["person_id"] for row in rows_of(folder, last, "upsert")}
        assert changed == {f"p{n:02}" for n in range(1, 28)} - {"p05"}


@pytest.mark.parametrize("sync", ["mirror", "upsert"])
def test_a_suppression_list_takes_back_what_was_sent(job, sync):
    rule = RULE.model_copy(update={"exclude": Exclude(suppression=("rivals", "rivls"))})
    body = {"crm": {"sync": sync, "fields": {"person_id": {"column": "person_id"}}}}
    first = with_destinations(replace(job, conf=job.conf.model_copy(update={"audiences": {"vip": rule}})), body)
    audiences_job.run(first)
    deliver_all(first)
    said = job.lake.read("silver.consents").where("record_id = 'cp06'")
    listed = {"purpose": F.lit("rivals"), "status": F.lit("denied"), "record_id": F.lit("l1"),
              "ingest_date": F.lit(DAY + timedelta(1))}  # fmt: skip
    job.lake.write("silver.consents", said.withColumns(listed), on=DAY + timedelta(1))
    second = on(first, DAY + timedelta(1))
    audiences_job.run(second)
    deliver_all(second)
    folder = Path(job.exports) / "crm"
    assert [r["person_id"] for r in rows_of(folder, history(folder)[-1], "remove")] == ["p06"]
    assert any("suppression list rivls: nobody stands on it" in line for line in second.warnings)


@pytest.mark.slow
def test_upsert_keeps_who_left_and_removes_who_said_no_or_was_merged(job):
    fields = {"person_id": {"column": "person_id"}, "tier": {"column": "tier"}}
    first = with_destinations(job, {"crm": {"sync": "upsert", "fields": fields}})
    audiences_job.run(first)
    deliver_all(first)
    lake, next_day = job.lake, DAY + timedelta(1)
    tier = F.when(F.col("person_id").isin("p06", "p07"), "tin").otherwise(F.col("tier"))  # both leave the audience
    lake.write("gold.profiles", lake.read("gold.profiles").withColumn("tier", tier).where("person_id <> 'p08'"))
    merged = lake.read("identity.members").where("person_id = 'p08'")
    old = merged.withColumn("valid_to", F.lit(next_day))
    new = merged.withColumns({"person_id": F.lit("p09"), "valid_from": F.lit(next_day)})
    rest = lake.read("identity.members").where("person_id <> 'p08'")
    lake.write("identity.members", rest.unionByName(old).unionByName(new))
    says(job, "p07", "withdrawn", next_day)
    second = on(first, next_day)
    audiences_job.run(second)
    deliver_all(second)
    folder = Path(job.exports) / "crm"
    _, difference = history(folder)
    assert {r["person_id"] for r in rows_of(folder, difference, "remove")} == {"p07", "p08"}
    assert rows_of(folder, difference, "upsert") == []
    gone = lake.read("activation.sent").where("op = 'remove'").collect()
    assert {r["values"]["person_id"] for r in gone} == {"p07", "p08"}
