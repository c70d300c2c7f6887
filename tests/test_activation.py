"""Audiences that add up, values as destinations want them, and deliveries that somebody else can read and check."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from cdp_spark.activation.deliver import deliver_all
from cdp_spark.activation.normalise import SETS
from cdp_spark.audiences.candidates import fresh
from cdp_spark.audiences.members import funnel, held_out, judged, members, summary
from cdp_spark.config.activation import NORMALISERS, Destination
from cdp_spark.config.leaving import problems
from jobs import audiences as audiences_job
from jobs import deliver as deliver_job
from tests.forty import DAY, PEOPLE, RULE, crm_rows, follow, people, put, sha, with_destinations
from tests.tables import table

# normaliser | value | what is hashed ('=' in front: what leaves as it is); nothing: no value leaves
VECTORS = {
    "google_2026_11": [
        ("email", "cloudy.sanfrancisco+shopping@gmail.com", "cloudysanfrancisco@gmail.com"),
        ("email", " user.name+NYC@Example.com ", "user.name+nyc@example.com"),
        ("email", "a. b@googlemail.com", "ab@googlemail.com"),
        ("email", "+only@gmail.com", None),
        ("email", "no address", None),
        ("email", "", None),
        ("email", None, None),
        ("email", "A" * 64, None),
        ("phone", "(800)555-0100", "+18005550100"),
        ("phone", "+44 20 7946 0958", "+442079460958"),
        ("phone", "12", None),
        ("given_name", " Mrs.  Ada  Maria ", "ada maria"),
        ("given_name", "Drew", "drew"),
        ("family_name", "O'Brien-Smith Jr.", "obriensmith"),
        ("family_name", "Müller", "müller"),
        ("family_name", "...", None),
        ("country_code", "gb", "=GB"),
        ("postal_code", " SW1A 1AA", "=SW1A 1AA"),
        ("email", "a" * 32, None),
        ("email", "F" * 128, None),
        ("mobile_id", " 38400000-8cf0-11bd-b23e-10b96e40000d ", "=38400000-8cf0-11bd-b23e-10b96e40000d"),
        ("user_id", "U-1", "=U-1"),
        ("consent_status", "consent", "=CONSENT_GRANTED"),
        ("consent_status", "legitimate_interest", "=CONSENT_STATUS_UNSPECIFIED"),
        ("consent_status", None, None),
    ],
    "meta_2026_11": [
        ("email", " User.Name@GMAIL.com", "user.name@gmail.com"),
        ("email", sha("x"), None),
        ("phone", "(800)555-0100", "18005550100"),
        ("given_name", "Jean-Luc", "jeanluc"),
        ("family_name", "Sørensen ", "sørensen"),
        ("gender", "Female", "f"),
        ("gender", "divers", None),
        ("birth_year", "1990-03-07", "1990"),
        ("birth_month", "1990-03-07", "03"),
        ("birth_day", "1990-03-07", "07"),
        ("city", "St. Albans", "stalbans"),
        ("zip", "SW1A 1AA", "sw1a1aa"),
        ("country", "GB", "gb"),
        ("madid", " AB-12", "=ab-12"),
        ("first_initial", "Érica", "é"),
        ("first_initial", "'", None),
        ("state", "N. Y.", "ny"),
        ("extern_id", " C-7 ", "=C-7"),
        ("lookalike_value", "12.5", "=12.5"),
        ("lookalike_value", "-1", None),
        ("lookalike_value", "much", None),
    ],
    "tiktok_2026_11": [
        ("email", " Ada. B@Example.com ", "ada.b@example.com"),
        ("email", "a@b", None),
        ("phone", "(800)555-0100", "+18005550100"),
        ("idfa", " 6D92078A-8246-4BA4-AE5B-76104861E7DC ", "6d92078a-8246-4ba4-ae5b-76104861e7dc"),
        ("aaid", "", None),
    ],
    "linkedin_2026_11": [
        ("email", " Ada@Example .com", "ada@example.com"),
        ("email_sha512", " Ada@B.co", "=" + hashlib.sha512(b"ada@b.co").hexdigest()),
        ("email_sha512", "b" * 128, None),
        ("google_aid", " Ab-1 ", "=Ab-1"),
    ],
    "plain_2026_11": [("email", " Ada@B.co", "=ada@b.co"), ("email", "x", None), ("none", "as is ", "=as is ")],
}


@pytest.mark.parametrize("name", VECTORS)
def test_golden_vectors(spark, name):
    rows = [(n, v, e and (e[1:] if e[0] == "=" else sha(e))) for n, v, e in VECTORS[name]]
    cases = spark.createDataFrame(rows, "normaliser string, value string, expected string")
    used = list(dict.fromkeys(row[0] for row in rows))
    wide = cases.select("*", *(SETS[name][n](F.col("value"), "US").alias(f"_{n}") for n in used))
    wrong = [
        (row["normaliser"], row["value"], row[f"_{row['normaliser']}"])
        for row in wide.collect()
        if row[f"_{row['normaliser']}"] != row["expected"]
    ]
    assert wrong == []


def test_every_declared_normaliser_is_there():
    assert {name: set(found) for name, found in NORMALISERS.items()} == {n: set(s) for n, s in SETS.items()}


def leaving(conf, **changes) -> str:
    base = {"description": "", "protocol": "s3_files", "audiences": ["winback"], "prefix": "x", "fields": {}}
    return "\n".join(problems(conf, "x.yml", Destination.model_validate(base | changes)))


@pytest.mark.parametrize(
    "sets, field, told",
    [
        ("plain_2026_11", {"column": "email", "normaliser": "email"}, "'email' is direct personal data"),
        ("plain_2026_11", {"column": "upper(identifiers['email'][0])"}, "'identifiers' is direct"),
        ("meta_2026_11", {"column": "gender", "normaliser": "gender"}, "'gender' is sensitive"),
        ("google_2026_11", {"column": "emial", "normaliser": "email"}, "did you mean 'email'"),
        ("google_2026_11", {"column": "email", "normaliser": "e-mail"}, "did you mean 'email'"),
        ("google_2026_11", {"column": "last_name", "normaliser": "family_name"}, "go together"),
        ("google_2026", {"column": "email", "normaliser": "email"}, "did you mean 'google_2026_11'"),
        ("google_2026_11", {"column": "email", "normaliser": "email"}, ""),
        ("plain_2026_11", {"column": "churn_score"}, ""),
        ("plain_2026_11", {"column": "person_id"}, ""),
        ("google_2026_11", {"column": "lower(email)"}, "'none' does not hash"),
    ],
)
def test_what_may_leave(conf, sets, field, told):
    found = leaving(conf, normalisers=sets, fields={"f": field})
    assert told in found and bool(told) == bool(found)


def state_of(spark, *people: str):
    rows = [(p, "marketing_email", True, f"c|{p}") for p in people]
    return spark.createDataFrame(rows, "person_id string, purpose string, granted boolean, consent_id string")


def test_a_funnel_adds_up_and_a_holdout_is_stable(spark):
    rule = RULE.model_copy(update={"holdout": 0.3})
    rows = judged(people(spark), "vip", rule, state_of(spark, *PEOPLE[:25], "p35"))
    found = {r["person_id"]: r["outcome"] for r in rows.collect()}
    counts = funnel({o: list(found.values()).count(o) for o in found.values()}, 1)
    assert sum(counts.values()) == len(PEOPLE) == len(found)
    assert (counts["condition"], counts["permission"], counts["holdout"] + counts["member"]) == (10, 5, 25)
    assert 0 < counts["holdout"] < 25
    fewer = judged(people(spark, gold=10), "vip", rule, state_of(spark, *PEOPLE)).collect()
    assert all(r["outcome"] == found[r["person_id"]] for r in fewer if r["outcome"] in ("holdout", "member"))
    share = spark.range(20000).select(F.col("id").cast("string").alias("person_id"))
    assert 0.28 < share.where(held_out("vip", 0.3)).count() / 20000 < 0.32


def test_too_few_is_nobody():
    found = funnel({"condition": 3, "member": 4, "holdout": 1}, 6)
    assert {outcome: people for outcome, people in found.items() if people} == {"condition": 3, "min_size": 5}


def test_old_scores_say_nothing(spark):
    scores = table(
        spark,
        """
        person_id string | model string | as_of date | score double | percentile double
        old              | churn        | 2026-05-01 | 0.9          | 0.9
        new              | churn        | 2026-05-20 | 0.1          | 0.1
        new              | churn        | 2026-05-25 | 0.2          | 0.2
        late             | churn        | 2026-06-02 | 0.8          | 0.8
        """,
    )
    found = fresh(scores, date(2026, 6, 1), 20, ["churn", "propensity"]).collect()
    assert [tuple(r) for r in found] == [("new", 0.2, 0.2, None, None)]


def test_since_is_kept_and_a_rerun_changes_nothing(spark):
    rows = table(
        spark,
        """
        audience string | person_id string | purpose string | consent_id string | outcome string
        vip             | stays            | mail           | c2                | member
        vip             | back             | mail           | c2                | holdout
        vip             | new              | mail           | c2                | member
        """,
    )
    previous = table(
        spark,
        """
        audience string | person_id string | since date | left date  | arm string | consent_id string | purpose string
        vip             | stays            | 2026-01-01 |            | treatment  | c1                | mail
        vip             | goes             | 2026-01-01 |            | treatment  | c1                | mail
        vip             | back             | 2026-01-01 | 2026-02-01 | treatment  | c1                | mail
        vip             | gone             | 2026-01-01 | 2026-02-01 | treatment  | c1                | mail
        vip             | mistake          | 2026-06-01 |            | treatment  | c1                | mail
        """,
    )
    first = members(rows, previous, date(2026, 6, 1))
    expected = {
        ("back", "2026-06-01", None, "holdout", "c2"),
        ("goes", "2026-01-01", "2026-06-01", "treatment", "c1"),
        ("gone", "2026-01-01", "2026-02-01", "treatment", "c1"),
        ("new", "2026-06-01", None, "treatment", "c2"),
        ("stays", "2026-01-01", None, "treatment", "c2"),
    }
    for found in (first, members(rows, first, date(2026, 6, 1))):
        got = {
            (r["person_id"], str(r["since"]), r["left"] and str(r["left"]), r["arm"], r["consent_id"])
            for r in found.collect()
        }
        assert got == expected


def test_delivery_to_a_local_folder(job):
    audiences_job.run(job)
    told = summary(job.lake.read("activation.funnels"), job.as_of)["vip"]
    assert told["members"] == 28 and told["excluded"]["condition"] == 10 and told["excluded"]["permission"] == 2
    first = deliver_job.run(job)
    assert [(e["destination"], e["files"], e["rows"]) for e in first] == [("ads", 1, 27), ("crm", 2, 28)]
    manifest, files = follow(lambda key: (Path(job.exports) / "crm" / key).read_bytes())
    rows = crm_rows(files)
    assert set(rows) == set(PEOPLE[1:29])
    assert rows["p02"]["first_name"] == '\'=cmd|"x",1'
    assert (rows["p01"]["email"], rows["p03"]["phone"]) == ("", "+442079460958")
    ledger = job.lake.read("activation.sent").where("destination = 'ads'").collect()
    assert {r["values"]["email"] for r in ledger} == {sha(f"{p}@x.org") for p in PEOPLE[2:29]}
    assert {r["op"] for r in ledger} == {"add"}
    plain = job.lake.read("activation.sent").where("destination = 'crm'").collect()
    assert not any("@" in text for r in plain for text in r["values"].values())
    again = deliver_all(job)
    assert again == first
    assert job.lake.read("activation.deliveries").count() == 4
    assert len(list((Path(job.exports) / "crm" / "deliveries").iterdir())) == 1


def test_a_payload_carries_the_newest_recommendations_best_first(job):
    rows = table(
        job.spark,
        """
        person_id string | as_of date | rank int | item string
        p01              | 2026-05-29 | 2        | B
        p01              | 2026-05-29 | 1        | C
        p01              | 2026-05-29 | 3        | A
        """,
    )
    rows = rows.withColumns({"score": F.lit(0.5), "method": F.lit("als")})
    put(job.lake, "ml.recommendations", rows, on=date(2026, 5, 29))
    old = rows.limit(1).withColumn("as_of", F.lit("2026-05-22").cast("date"))
    put(job.lake, "ml.recommendations", old, on=date(2026, 5, 22))
    fields = {
        "person_id": {"column": "person_id"},
        "best": {"column": "array_join(slice(RECOMMENDATIONS, 1, 2), ' ')"},
        "all": {"column": "recommendations"},
    }
    job = with_destinations(job, {"crm": {"fields": fields}})
    audiences_job.run(job)
    deliver_job.run(job)
    _, files = follow(lambda key: (Path(job.exports) / "crm" / key).read_bytes())
    found = crm_rows(files)
    assert (found["p01"]["best"], found["p01"]["all"]) == ("C B", "[C, B, A]")
    assert (found["p02"]["best"], found["p02"]["all"]) == ("", "")


def test_permission_is_asked_again_and_a_crash_is_mended(job):
    audiences_job.run(job)
    deliver_all(job)
    word = job.lake.read("silver.consents").where("record_id = 'cp05'").withColumns(
        {"status": F.lit("withdrawn"), "record_id": F.lit("n"), "event_time": F.lit("2026-05-30").cast("timestamp"),
         "ingest_date": F.lit(DAY)})  # fmt: skip
    job.lake.write("silver.consents", word, on=DAY)
    deliveries = job.lake.read("activation.deliveries")
    job.lake.spark.sql(f"DELETE FROM delta.`{job.lake.location('activation.deliveries')}` WHERE status = 'confirmed'")
    found = {e["destination"]: e["rows"] for e in deliver_all(job)}
    assert found == {"ads": 26, "crm": 27}
    assert deliveries.count() == 4
    status = {(r["destination"], r["status"]): 0 for r in job.lake.read("activation.deliveries").collect()}
    assert len(status) == 4 and job.lake.read("activation.deliveries").count() == 8
    _, files = follow(lambda key: (Path(job.exports) / "crm" / key).read_bytes())
    assert "p05" not in crm_rows(files)
