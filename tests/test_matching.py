"""Are people found who share no identifier, and are relatives, namesakes and shared things kept apart?"""

from __future__ import annotations

import random
from itertools import combinations

import pandas as pd
import pytest

from cdp_spark.config.load import ConfError, load
from cdp_spark.config.matching import Matching
from cdp_spark.identity.matching import blocking, records
from cdp_spark.identity.matching.cluster import grouped, kept
from cdp_spark.identity.matching.comparisons import comparisons
from cdp_spark.identity.matching.match import grouped_keys, linked, together, within
from cdp_spark.identity.matching.nicknames import roots
from cdp_spark.identity.matching.score import partners, prior_bits, scored, told, with_rarity
from cdp_spark.identity.matching.train import trained
from cdp_spark.identity.matching.weights import weighted
from tests.conftest import ROOT
from tests.tables import table

CUSTOMER = """
kind first_name middle_name last_name full_name company national_id account_number birth_date birth_text
gender email phone house_number street unit city state postcode
"""
MAPPED = {"first_name", "last_name", "birth_text", "gender", "email", "street", "city", "postcode"}
GIVEN = """
william robert elizabeth margaret thomas james charlotte oliver harriet edmund felix greta hugo ines jonas
klara leopold martha nils olga paula quentin rosa silas theodore ursula viktor wanda xaver yvonne zeno agnes
bruno celia dorian edith fabian gisela henrik irene
"""
SHORT = {"william": "bill", "robert": "bob", "elizabeth": "liz", "margaret": "peggy", "thomas": "tom", "james": "jim"}
SYLLABLES = """
ba den for gar hol kin lan mor nes pet quo ros sten tol ver wick
"""


def person(rng: random.Random, family: str, street: str, **fixed) -> dict:
    year, month, day = rng.randint(1930, 2004), rng.randint(1, 12), rng.randint(1, 28)
    given = rng.choice(GIVEN.split())
    made = {"first_name": given, "last_name": family, "birth_text": f"{year}{month:02}{day:02}",
            "gender": rng.choice("mf"), "street": street,
            "email": f"{given[0]}.{family}{rng.randint(1, 99)}@mail.example",
            "city": rng.choice(["york", "leeds", "hull", "bath"]), "postcode": f"n{rng.randint(10, 99)}"}  # fmt: skip
    return made | fixed


def written_again(rng: random.Random, one: dict, trouble: str) -> dict:
    """The same person as another system has them."""
    two = dict(one)
    if trouble == "nickname":
        two["first_name"] = SHORT.get(one["first_name"], one["first_name"])
    if trouble == "typo":
        place = rng.randrange(1, len(one["last_name"]) - 1)
        two["last_name"] = one["last_name"][:place] + one["last_name"][place + 1 :]
    if trouble == "turned date":
        two["birth_text"] = one["birth_text"][:4] + one["birth_text"][6:] + one["birth_text"][4:6]
    if trouble == "moved":
        two |= {
            "street": f"{rng.randint(1, 99)} {''.join(rng.choices(SYLLABLES.split(), k=2))} road",
            "city": "leeds",
            "postcode": "m1",
        }
    if rng.random() < 0.3:
        two["email"] = None
    return two


def town(seed: int = 5) -> tuple[pd.DataFrame, dict[str, int]]:
    """Records and whose each is: households of spouses, twins, a junior and a senior, and people written twice."""
    rng, rows, truth = random.Random(seed), [], {}

    def add(one: dict, entity: int) -> None:
        key = f"s|{len(rows)}"
        rows.append(one | {"subject_key": key})
        truth[key] = entity

    entity = 0
    for number in range(260):
        family = "".join(rng.choices(SYLLABLES.split(), k=3))
        street = f"{rng.randint(1, 99)} {''.join(rng.choices(SYLLABLES.split(), k=2))} street"
        home = {"city": rng.choice(["york", "leeds", "hull", "bath"]), "postcode": f"n{rng.randint(10, 99)}"}
        first = person(rng, family, street, **home)
        others = {
            0: [person(rng, family, street, **home)],  # a spouse
            1: [first | {"first_name": rng.choice(GIVEN.split()[20:]), "email": None}],  # a twin
            2: [first | {"birth_text": str(int(first["birth_text"][:4]) + 28) + "0713", "email": None}],  # a junior
        }.get(number % 6 if number % 6 == 0 else number % 12, [])
        if others and others[0]["first_name"] == first["first_name"] and number % 6 != 2:
            others = []
        for one in (first, *others):
            add(one, entity)
            trouble = ("none", "nickname", "typo", "turned date", "moved")[number % 5]
            if rng.random() < 0.7:
                add(written_again(rng, one, trouble), entity)
            entity += 1
    return pd.DataFrame(rows).astype(object), truth


def customers(spark, people: pd.DataFrame):
    frame = people.reindex(columns=["subject_key", *CUSTOMER.split()]).astype(object)
    frame = frame.where(frame.notna(), None)
    shape = ", ".join(f"{name} {'date' if name == 'birth_date' else 'string'}" for name in frame.columns)
    rows = spark.createDataFrame(frame.values.tolist(), shape)
    return rows.selectExpr("*", "split_part(subject_key, '|', 1) AS source", "timestamp'2026-01-01' AS event_time")


def links_of(spark, people: pd.DataFrame, distinct: tuple[str, ...] = ()) -> set[tuple[str, str]]:
    """The links that matching finds among `people`, by the same calls as the step."""
    how, columns = Matching(enabled=True), records.filled(MAPPED, {})
    rows = records.prepared(customers(spark, people), {}).localCheckpoint()
    compared = comparisons(columns, {})
    model = weighted(trained(rows.drop("event_time").toPandas(), compared, seed=1, max_pairs=2e5), compared)
    rare = with_rarity(rows, model).localCheckpoint()
    pairs = blocking.proposals(blocking.sized(rows, blocking.rules(columns, {})), how.max_block, distinct)
    first = scored(pairs.select("a", "b").distinct(), rare, model).localCheckpoint()
    steps = {round(row.total, 1): 0 for row in first.select("total").collect()}
    for row in first.select("total").collect():
        steps[round(row.total, 1)] += 1
    prior = prior_bits(partners(steps, len(people)), len(people))
    groups = grouped_keys(linked(first, prior, how, distinct).where("linked"), how.max_group)
    again = scored(within(groups), rare, model).withColumn("rule", told(model))
    return {(row.a, row.b) for row in together(linked(again, prior, how, distinct)).collect()}


def clusters(links: set[tuple[str, str]], keys) -> dict[str, str]:
    root = {key: key for key in keys}

    def find(key):
        while root[key] != key:
            key = root[key]
        return key

    for a, b in sorted(links):
        root[max(find(a), find(b))] = min(find(a), find(b))
    return {key: find(key) for key in keys}


def pairs_of(labels: dict) -> set[tuple[str, str]]:
    groups: dict = {}
    for key, label in labels.items():
        groups.setdefault(label, []).append(key)
    return {pair for keys in groups.values() for pair in combinations(sorted(keys), 2)}


def test_people_are_found_and_relatives_kept_apart(spark):
    people, truth = town()
    # one address on more than 1 % of the records, and one e-mail that a whole family uses
    shared = people.sample(len(people) // 50, random_state=3).index
    people.loc[shared, "email"] = "info@shop.example"
    found = pairs_of(clusters(links_of(spark, people), truth))
    true = pairs_of(truth)
    assert len(found & true) / len(found) >= 0.98
    assert len(found & true) / len(true) >= 0.90
    loud = set(people.loc[shared, "subject_key"])
    assert not {pair for pair in found - true if set(pair) <= loud}


def test_a_prepared_record_reads_alike_however_it_was_written(spark):
    people = pd.DataFrame(
        [
            {
                "subject_key": "s|1",
                "first_name": "Dr. Béla",
                "last_name": "O'Neill-Müller Jr.",
                "street": "12 High Street",
            },
            {"subject_key": "s|2", "full_name": "Oneill Muller, Bela", "house_number": "12", "street": "High St"},
            {
                "subject_key": "s|3",
                "first_name": "Bill",
                "last_name": "Smith",
                "birth_text": "19991332",
                "company": "Acme Ltd",
            },
            {"subject_key": "s|4", "first_name": " ", "last_name": None, "company": "ACME"},
        ]
    )
    rows = records.prepared(customers(spark, people), {}).orderBy("subject_key").collect()
    assert [row.given for row in rows] == ["bela", "bela", "bill", None]
    assert [row.family for row in rows[:3]] == ["oneillmuller", "muller", "smith"]
    assert [row.generation for row in rows] == ["2", None, None, None]
    assert rows[0].address == rows[1].address == "12 highst"
    assert rows[2].given_root == "william" and rows[2].birth == "19991332"
    assert rows[2].company == rows[3].company == "acme"


def test_dates_of_all_notations_become_one_text(spark):
    from cdp_spark.silver.normalise import date_text

    cases = table(
        spark,
        """
        raw string          | gb string | us string
        1985-03-04          | 19850304  | 19850304
        1985-03-04 10:00:00 | 19850304  | 19850304
        19850304            | 19850304  | 19850304
        4/3/1985            | 19850304  | 19850403
        03041985            | 19850403  | 19850304
        2!-07-1954          | 1954072!  | 19542!07
        1985-13-40          | 19851340  | 19851340
        last year           |           |
                            |           |
        """,
    )
    found = cases.select("*", date_text(cases.raw, "GB").alias("a"), date_text(cases.raw, "US").alias("b")).collect()
    assert [(row.raw, row.a, row.b) for row in found] == [(row.raw, row.gb, row.us) for row in found]


def scores(*rows: tuple) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["a", "b", "score", "linked"])
    return frame.assign(source_a=None, source_b=None, first_seen=pd.Timestamp("2026-01-01"), rule="birth")


def test_a_bridge_between_two_people_does_not_tie_them():
    pairs = scores(("a", "b", 12, True), ("c", "d", 11, True), ("b", "c", 6, True), ("a", "c", -9, False),
                   ("a", "d", -9, False), ("b", "d", -9, False))  # fmt: skip
    assert grouped(pairs) == {"a": "a", "b": "a", "c": "c", "d": "c"}
    assert set(zip(kept(pairs)["a"], kept(pairs)["b"], strict=True)) == {("a", "b"), ("c", "d")}
    assert grouped(pairs.sample(frac=1, random_state=2)) == grouped(pairs)


def test_a_source_without_duplicates_stands_once_in_a_group():
    pairs = scores(("l|1", "r|1", 9, True), ("l|1", "r|2", 8, True)).assign(source_a="l", source_b="r")
    assert grouped(pairs) == {"l|1": "l|1", "r|1": "l|1", "r|2": "r|2"}


def test_common_keys_propose_nothing_and_are_counted(spark):
    people = pd.DataFrame([{"subject_key": f"s|{n:02}", "email": "one@x.example"} for n in range(30)])
    people.loc[len(people)] = {"subject_key": "s|98", "email": "two@x.example"}
    people.loc[len(people)] = {"subject_key": "t|99", "email": "two@x.example"}
    rows = records.prepared(customers(spark, people), {})
    keyed = blocking.sized(rows, [blocking.Rule("email", ("email",), ("email",))])
    assert [tuple(row) for row in blocking.report(keyed, 20).collect()] == [("email", 1, 1, 30)]
    assert [(row.a, row.b) for row in blocking.proposals(keyed, 20, ()).collect()] == [("s|98", "t|99")]


def test_partners_are_those_that_the_weights_expect():
    assert partners({30.0: 50, -20.0: 1_000}, 100) == pytest.approx(1.0, rel=0.01)
    assert partners({}, 100) == 0.0


def test_every_nickname_has_one_root_that_is_its_own():
    found = roots()
    assert found["bob"] == found["robert"] == "robert" and found["peggy"] == "margaret"
    assert all(len(form) > 1 for form in found)


def test_a_field_that_is_no_column_is_refused(tmp_path):
    (tmp_path / "sources").mkdir()
    source = (ROOT / "tests/real/identity/febrl3/sources/records.yml").read_text()
    (tmp_path / "sources" / "records.yml").write_text(source)
    (tmp_path / "identity.yml").write_text("matching: {enabled: true, fields: {title: free_text}}\n")
    with pytest.raises(ConfError, match="no column of silver.customers 'title'"):
        load(tmp_path)
