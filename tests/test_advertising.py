"""The shipped file sets of four advertising platforms, read by somebody who knows the pointer only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pyspark.sql import functions as F

from cdp_spark.activation.deliver import deliver_all
from jobs import audiences as audiences_job
from tests.forty import RULE, sha
from tests.reader import manifests, rows

# What is known of whom -> what a platform may get: a Gmail address with dots and a tag, no phone number, nothing but a
# name, and an address that is a hash already.
COLUMNS = ("email", "phone", "first_name", "last_name")
KNOWN = {
    "p02": ("Ada.Lo+shop@gmail.com", "+442079460958", "Mrs. Ada", "O'Neil Jr."),
    "p03": ("bob@x.org", None, "=Bob", "Müller"),
    "p04": (None, None, "Zelda", "Quux"),
    "p05": (sha("eve@x.org"), "+442079460959", "Eve", "Adams"),
}
PLACE = {"country": "GB", "city": "St. Albans", "postcode": "AL1 1AB"}
YES = {"ad_user_data": "CONSENT_GRANTED", "ad_personalization": "CONSENT_GRANTED"}


def google(email, phone, first, last) -> dict:
    return {"email": email, "phone": phone, "given_name": sha(first), "family_name": sha(last), "region_code": "GB",
            "postal_code": "AL1 1AB"} | YES  # fmt: skip


def meta(email, phone, first, last) -> dict:
    return {"EMAIL": email, "PHONE": phone, "FN": sha(first), "LN": sha(last), "CT": sha("stalbans"),
            "ZIP": sha("al11ab"), "COUNTRY": sha("gb")}  # fmt: skip


GMAIL, PHONE, OTHER = sha("ada.lo+shop@gmail.com"), sha("+442079460958"), sha("+442079460959")
WANTED = {
    "google_customer_match": [
        google(sha("adalo@gmail.com"), PHONE, "ada", "oneil"),
        google(sha("bob@x.org"), "", "=bob", "müller"),
        google("", "", "zelda", "quux"),
        google("", OTHER, "eve", "adams"),
    ],
    "meta_custom_audience": [  # a mirror: Zelda could never be taken back
        meta(GMAIL, sha("442079460958"), "mrs ada", "oneil jr"),
        meta(sha("bob@x.org"), "", "bob", "müller"),
        meta("", sha("442079460959"), "eve", "adams"),
    ],
    "tiktok_audience": [
        {"EMAIL_SHA256": GMAIL, "PHONE_SHA256": PHONE},
        {"EMAIL_SHA256": sha("bob@x.org"), "PHONE_SHA256": ""},
        {"EMAIL_SHA256": "", "PHONE_SHA256": OTHER},
    ],
    "linkedin_audience": [{"SHA256_EMAIL": GMAIL}, {"SHA256_EMAIL": sha("bob@x.org")}],
}


def test_the_four_shipped_file_sets_hold_hashes_and_nothing_raw(job, conf):
    cells = [(person, *about) for person, about in KNOWN.items()]
    known = job.spark.createDataFrame(cells, ", ".join(f"{name} string" for name in ("person_id", *COLUMNS)))
    profiles = job.lake.read("gold.profiles").drop(*COLUMNS)
    profiles = profiles.join(known, "person_id").withColumns({name: F.lit(value) for name, value in PLACE.items()})
    job.lake.write("gold.profiles", profiles)
    shipped = {name: conf.destinations[name] for name in WANTED}
    assert {audience for spec in shipped.values() for audience in spec.audiences} == {"high_value"}
    here = replace(job, conf=job.conf.model_copy(update={"audiences": {"high_value": RULE}, "destinations": shipped}))
    audiences_job.run(here)
    deliver_all(here)
    for name, wanted in WANTED.items():
        get = lambda key, at=shipped[name].prefix: (Path(here.exports) / at / key).read_bytes()  # noqa: E731
        (told,) = manifests(get)
        assert told["normalisers"] == shipped[name].normalisers and told["columns"] == list(wanted[0])
        found = [row for file in told["files"] for row in rows(get, file, told)]
        assert sorted(map(str, found)) == sorted(map(str, wanted)), name
    raw = {value.encode() for about in KNOWN.values() for value in about if value}
    raw |= {b"St. Albans", b"gmail", b"x.org", b"442079460958", *map(str.encode, KNOWN)}
    for path in Path(here.exports).rglob("*"):
        if path.is_file() and path.suffix != ".crc":
            assert not [value for value in raw if value in path.read_bytes()], path
