"""Is the generated retailer what it says: the same for a seed, as hard as stated, with a truth that fits its drops?"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import phonenumbers
import pyarrow.parquet as pq
import pytest

from cdp_spark.demo import behaviour, corrupt, people, records
from cdp_spark.demo import difficulty as how
from cdp_spark.demo.retailer import generate

DAY1, DAY2 = "2026-01-30", "2026-01-31"
SOURCES = {"crm", "web", "app", "orders", "loyalty", "email", "support", "consents", "adspend", "enrichment"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    out = tmp_path_factory.mktemp("shop")
    return out, generate(out, 300, 2, 7)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def events(out: Path, source: str, day: str) -> list[dict]:
    rows = []
    for line in next((out / "drops" / source / day).iterdir()).read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def listed(out: Path, source: str, day: str, separator=",", encoding="utf-8") -> dict[str, dict]:
    text = next((out / "drops" / source / day).iterdir()).read_text(encoding=encoding).splitlines()
    rows = list(csv.DictReader(text, delimiter=separator))
    return {next(iter(row.values())): row for row in rows if None not in row and None not in row.values()}


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(3)
    return behaviour.World(rng, people.make(rng, 4000, 2), how.START, 2)


def test_same_seed_same_bytes(shop, tmp_path):
    generate(tmp_path / "again", 300, 2, 7)
    generate(tmp_path / "other", 300, 2, 8)
    assert files(shop[0]) == files(tmp_path / "again")
    assert files(shop[0]) != files(tmp_path / "other")


def test_counts_are_rows_of_the_files(shop):
    out, counts = shop
    assert set(counts) == SOURCES and all(set(days) == {DAY1, DAY2} for days in counts.values())
    for source, header in (("web", 0), ("crm", 1), ("loyalty", 1), ("consents", 0)):
        for day, rows in counts[source].items():
            assert next((out / "drops" / source / day).iterdir()).read_bytes().count(b"\n") - header == rows
    assert pq.read_metadata(out / "drops/orders" / DAY1 / "orders.parquet").num_rows == counts["orders"][DAY1]


def test_day_two_holds_its_own_rows_and_late_ones(shop):
    first = [row["ts"][:10] for row in events(shop[0], "web", DAY1) if row["ts"] != "yesterday"]
    second = [row["ts"][:10] for row in events(shop[0], "email", DAY2) if row["ts"] != "yesterday"]
    assert max(first) == DAY1 and min(first) < "2024-09-01"
    assert DAY2 in second and min(second) >= "2026-01-26" and max(second) == DAY2


def test_lists_change_overnight(shop):
    before, after = (listed(shop[0], "crm", day, ";", "iso-8859-1") for day in (DAY1, DAY2))
    assert before.keys() - after.keys() and after.keys() - before.keys()
    both = before.keys() & after.keys()
    assert any(before[key]["STREET"] != after[key]["STREET"] for key in both)
    gained = [after[key]["EMAIL"] for key in both if before[key]["EMAIL"] != after[key]["EMAIL"]]
    assert gained
    assert all(before[key] == after[key] for key in both if before[key]["UPDATED_AT"] == after[key]["UPDATED_AT"])


def test_every_subject_has_one_truth(shop):
    truth = pd.read_csv(shop[0] / "truth/people.csv", dtype=str)
    assert not truth.duplicated(["source", "record_id"]).any() and truth.notna().all().all()
    known = set(truth["source"] + "|" + truth["record_id"])
    for day in (DAY1, DAY2):
        for row in events(shop[0], "web", day):
            if row["ts"] != "yesterday":
                assert f"web|anonymous_id:{row['anonymous_id']}" in known
                assert "user_id" not in row or f"web|user_id:{row['user_id']}" in known
        table = pq.read_table(shop[0] / "drops/orders" / day / "orders.parquet").to_pandas()
        table = table[table["order_id"].notna()]
        assert table[["user_id", "loyalty_card", "email", "phone"]].notna().any(axis=1).all()
        assert {f"orders|email:{value}" for value in table["email"].dropna()} <= known
    assert {f"loyalty|{card}" for card in listed(shop[0], "loyalty", DAY2) if card.startswith("63")} & known


def test_owner_of_a_shared_device_logs_in_first(world):
    placed = behaviour.orders(world)
    visits = behaviour.sessions(world, placed, "web")
    logins = visits[visits["login"]].sort_values(["day", "second"])
    first = logins.drop_duplicates("key").set_index("key")["person"]
    owner = world.people.reset_index().set_index("cookie")["index"]
    shared = visits.loc[visits["shared"], "key"].unique()
    assert len(shared) > 100 and (first[shared] == owner[shared]).all()


def test_rows_are_late_and_devices_shared_as_stated(world, shop):
    visits = behaviour.sessions(world, behaviour.orders(world), "web")
    homes = world.people["household"]
    shared = homes[visits.loc[visits["shared"], "person"]].nunique() / homes.nunique()
    assert shared == pytest.approx(how.SHARED_DEVICE, abs=0.02)
    rows = [row for row in events(shop[0], "web", DAY1) if row["ts"] != "yesterday"]
    late = np.mean([row["received_at"][:10] > row["ts"][:10] for row in rows])
    assert late == pytest.approx(how.LATE, abs=0.005)


def test_difficulty_is_as_stated(world):
    folk = world.people
    households = folk["household"].nunique()
    visitors = folk[folk["visitor"]]
    assert (folk["owner"] != folk.index).sum() / households == pytest.approx(how.SHARED_DEVICE, abs=0.01)
    assert folk["borrows_mail"].sum() / households == pytest.approx(how.SHARED_EMAIL, abs=0.005)
    assert (~visitors["account"]).mean() == pytest.approx(how.NEVER_LOGS_IN, abs=0.01)
    assert folk["moved"].mean() == pytest.approx(how.MOVED, abs=0.015)
    crm = records.crm(world, set(folk["email"]) | set(folk["alt_email"]))
    assert (crm["kind"] != "").sum() / folk["crm"].sum() == pytest.approx(how.DUPLICATE_CRM, abs=0.01)
    slips = (crm["FIRST_NAME"] != crm["first"]) | (crm["LAST_NAME"] != crm["last"])
    assert slips.mean() == pytest.approx(how.NAME_TYPO, abs=0.015)
    given = crm["EMAIL"] != ""
    wrong = crm["EMAIL"].str.strip().str.lower() != np.where(
        crm["kind"].isin(["phone", "alone"]), crm["alt_email"], crm["email"]
    )
    assert wrong[given].mean() == pytest.approx(how.EMAIL_TYPO, abs=0.01)
    shares = crm["lends_mail"] | crm["borrows_mail"]
    assert 0.02 < (crm["BIRTH_DATE"] == "")[shares].mean() < 0.09  # who shares something is as incomplete as others
    assert set(crm.loc[crm["BIRTH_DATE"] != "", "BIRTH_DATE"]) <= set(folk["birth"])
    lent = folk[folk["borrows_mail"]]
    assert (folk["joined"][lent["mail_owner"]].to_numpy() < lent["joined"].to_numpy()).all()


def test_no_typo_is_somebody_elses_address():
    rng = np.random.default_rng(1)
    real = pd.Series([f"a{i}@x.org" for i in range(2000)])
    typed = corrupt.emails(rng, real, 1.0, set(real))
    assert not set(typed) & set(real) and len(set(typed)) == len(real)


@pytest.mark.parametrize("number", ["7400123456", "7449999999", "1904600007"])
def test_every_phone_style_is_one_number(number):
    for text in {corrupt.phones(np.random.default_rng(i), np.array([number]))[0] for i in range(60)}:
        parsed = phonenumbers.parse(text, "GB")
        assert phonenumbers.is_valid_number(parsed), text
        assert phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) == f"+44{number}"


def test_malformed_rows_are_there_and_few(shop):
    lines = (shop[0] / "drops/web" / DAY1 / "events.jsonl").read_text().splitlines()
    good = [row for row in events(shop[0], "web", DAY1) if row["ts"] != "yesterday"]
    assert 0.002 < 1 - len(good) / len(lines) < 0.01
    ids = pd.Series([row["event_id"] for row in good])
    assert 0.005 < ids.duplicated().mean() < 0.015


def test_future_is_beyond_the_drops(shop):
    future = pd.read_csv(shop[0] / "truth/future.csv")
    assert set(future["as_of"]) == {"2026-01-31", "2026-02-01"}
    assert not future.duplicated(["entity_id", "as_of"]).any()
    assert (future["orders_30d"] <= future["orders_90d"]).all() and future["spend_90d"].max() > 0


def test_too_few_people_is_said(tmp_path):
    with pytest.raises(ValueError, match="at least 50 people"):
        generate(tmp_path, 10, 2, 7)
