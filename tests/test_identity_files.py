"""Who is who in a folder of files: the whole command on two lists of people and one of firms, and its complaints."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
from click.testing import CliRunner

from cdp_spark.config.load import ConfError
from cdp_spark.identity.cli import identity
from cdp_spark.identity.plan import BeyondError
from cdp_spark.runner import RunError
from tests.people import register

MEMBERS = """
description: Members of a club
entity: customers
format: csv
path: members.csv
fields: [id, given, surname, born, number, road, town, zip, id_card]
key: [id]
columns: {first_name: given, last_name: surname, birth_text: born, house_number: number, street: road, city: town,
          postcode: zip, national_id: id_card}
"""
GUESTS = """
description: Guests of a hotel
entity: customers
format: csv
path: guests.csv
options: {sep: ";"}
fields: [guest_no, name, birthday, address, city, postcode]
key: [guest_no]
columns: {full_name: name, birth_text: birthday, street: address, city: city, postcode: postcode}
"""
FIRMS = """
description: Firms of two registers
entity: customers
format: csv
path: firms.csv
fields: [id, firm, phone, street, city]
key: [id]
columns: {kind: "'organisation'", company: firm, phone: phone, street: street, city: city}
"""
FIRM_ROWS = """id,firm,phone,street,city
f1,Northern Lights Ltd,020 7946 0018,12 High Street,York
f2,Northern Light Limited,+44 20 7946 0018,12 High St,York
f3,Southern Oak plc,020 7946 0700,80 Mill Lane,Bath
f4,Quiet Harbour GmbH,020 7946 0711,12 High Street,York
f5,SOUTHERN OAK,020 7946 0700,80 Mill Ln.,Bath
"""
MATCHING = "matching: {enabled: true}\n"


@pytest.fixture
def folder(tmp_path):
    """conf/ and files/ of the three sources, and truth.csv."""
    conf, files = tmp_path / "conf", tmp_path / "files"
    (conf / "sources").mkdir(parents=True)
    (conf / "env").mkdir()
    files.mkdir()
    (conf / "identity.yml").write_text(MATCHING)
    (conf / "env" / "local.yml").write_text("shuffle_partitions: 1\n")
    for name, text in {"members": MEMBERS, "guests": GUESTS, "firms": FIRMS}.items():
        (conf / "sources" / f"{name}.yml").write_text(text)
    people, entities = register(21, 120, 1.0, 3)
    people = people.assign(entity_id=entities, record_id=[f"r{n}" for n in range(len(people))])
    two = people.index % 2 == 1
    named = {"record_id": "id", "first_name": "given", "last_name": "surname", "birth_text": "born", "street": "road",
             "house_number": "number", "city": "town", "postcode": "zip", "national_id": "id_card"}  # fmt: skip
    people.loc[~two, list(named)].rename(columns=named).to_csv(files / "members.csv", index=False)
    other = people[two].fillna("")
    pd.DataFrame({"guest_no": other["record_id"], "name": other["first_name"] + " " + other["last_name"],
                  "birthday": other["birth_text"], "address": other["house_number"] + " " + other["street"],
                  "city": other["city"], "postcode": other["postcode"]}).to_csv(
        files / "guests.csv", index=False, sep=";")  # fmt: skip
    (files / "firms.csv").write_text(FIRM_ROWS)
    firms = pd.DataFrame({"record_id": ["f1", "f2", "f3", "f4", "f5"], "entity_id": ["a", "a", "b", "c", "b"]})
    pd.concat([people[["record_id", "entity_id"]], firms]).to_csv(tmp_path / "truth.csv", index=False)
    return tmp_path


def asked(folder, *more: str):
    words = ["--conf", f"{folder}/conf", "--lake", f"{folder}/lake"]
    return CliRunner().invoke(identity, [more[0], *words, *more[1:]])


def test_people_and_firms_of_three_files_are_found_in_one_command(spark, folder):
    done = asked(folder, "run", "--in", f"{folder}/files", "--date", "2026-01-31", "--truth", f"{folder}/truth.csv")
    assert done.exit_code == 0, done.output
    got = {name: float(value) for name, value in re.findall(r"^(pairwise_\w+) +([\d.]+)$", done.output, re.MULTILINE)}
    assert got["pairwise_p"] >= 0.98 and got["pairwise_r"] >= 0.9
    rows = spark.read.format("delta").load(f"{folder}/lake/identity/members").where("source = 'firms'").collect()
    person = {row.record_id: row.person_id for row in rows}
    assert person["f1"] != person["f3"] and person["f4"] not in {person[f] for f in ("f1", "f2", "f3", "f5")}
    why = asked(folder, "explain", rows[0].person_id)  # nothing else has to be run first
    well = asked(folder, "health", "--json")
    assert (why.exit_code, well.exit_code) == (0, 0) and rows[0].person_id in why.output
    assert {row["metric"] for row in json.loads(well.output)} >= {"people", "consolidation_rate", "person_size"}
    told = asked(folder, "blocking", "--truth", f"{folder}/truth.csv")
    share = re.search(r"all rules together.* ([\d.]+)$", told.output, re.MULTILINE)
    assert told.exit_code == 0 and float(share[1]) >= 0.95
    # an older day would forget these people, a stricter matching part some of them: the one is refused, the other told
    older = asked(folder, "run", "--in", f"{folder}/files", "--date", "2026-01-30")
    assert isinstance(older.exception, RunError) and "people of 2026-01-31 are there" in str(older.exception)
    ahead = asked(folder, "run", "--in", f"{folder}/files", "--date", "2099-01-31")
    assert isinstance(ahead.exception, RunError) and "yet to come" in str(ahead.exception)
    (folder / "conf" / "identity.yml").write_text("matching: {enabled: true, min_probability: 0.9999999999}\n")
    told = asked(folder, "plan")
    assert isinstance(told.exception, BeyondError) and "people split" in str(told.exception)
    plan = json.loads(told.output)
    assert 0 < plan["matches"]["after"] < plan["matches"]["before"] and plan["people"]["merged"] == 0


def test_mistakes_in_the_folder_are_told_before_anything_runs(folder):
    empty = folder / "empty"
    empty.mkdir()
    nothing = asked(folder, "run", "--in", str(empty))
    assert nothing.exit_code == 1 and "nothing lies in it" in nothing.output
    gone = asked(folder, "run", "--in", f"{folder}/files", "--truth", f"{folder}/no.csv")
    assert gone.exit_code == 1 and "no such file" in gone.output
    source = folder / "conf" / "sources" / "members.yml"
    for wrong, hint in (
        (MEMBERS.replace("last_name: surname", "last_nam: surname"), "did you mean 'last_name'"),
        (MEMBERS.replace("given, surname", "given, family", 1), "no column 'surname'"),
        (MEMBERS + "identifiers: {e_mail: id_card}\n", "no namespace 'e_mail'"),
    ):
        source.write_text(wrong)
        told = asked(folder, "run", "--in", f"{folder}/files")
        assert isinstance(told.exception, ConfError) and hint in str(told.exception)


def test_a_file_without_its_key_stops_and_names_the_field(spark, folder):
    for name in ("guests", "firms"):
        (folder / "conf" / "sources" / f"{name}.yml").unlink()
    (folder / "files" / "members.csv").write_text("ident,given,surname\n1,Ann,Lee\n")
    told = asked(folder, "run", "--in", f"{folder}/files", "--date", "2026-01-31")
    assert isinstance(told.exception, RunError) and "no source could be landed" in str(told.exception)
