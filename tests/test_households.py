"""Households: who shares a value, up to how many; ids that last; nobody is merged."""

from __future__ import annotations

import unicodedata
from datetime import date

import pytest
from pyspark.sql import functions as F

from cdp_spark.config.source import Identity
from cdp_spark.identity.households import households, plain
from cdp_spark.identity.persons import as_known_before

PEOPLE = "person_id string, street string, postcode string, identifiers map<string,array<string>>"
RULES = {
    "identifiers": {"device_id": {}},
    "blocked_values": ["unknown"],
    "households": {
        "max_people": 4,
        "rules": {
            "address": {"columns": ["street", "postcode"], "max_people": 3},
            "device": {"namespace": "device_id", "max_people": 3},
        },
    },
}
NONE = "household_id string, person_id string, rule string, valid_from date, valid_to date"


class World:
    """Households as they pass from day to day. People are {id: (street, device)} or (street, device, landing)."""

    def __init__(self, spark):
        self.spark, self.table = spark, spark.createDataFrame([], NONE)

    def run(self, day: int, people: dict[str, tuple]) -> dict[str, str]:
        """{person: household} after the day."""
        rows = [(p, v[0], v[0] and "YO1", {"device_id": [v[1]]} if v[1] else {}) for p, v in people.items()]
        seen = [(f"crm|{p}", p, v[2] if len(v) > 2 else int(p[1:])) for p, v in people.items()]
        keys = self.spark.createDataFrame(seen, "subject_key string, person_id string, landing bigint")
        members, as_of = keys.withColumn("valid_to", F.lit(None).cast("date")), date(2026, 1, day)
        profiles = self.spark.createDataFrame(rows, PEOPLE)
        before = as_known_before(self.table, as_of)
        found = households(profiles, keys.drop("person_id"), members, before, Identity.model_validate(RULES), as_of)
        self.table = found.localCheckpoint()
        return {row.person_id: row.household_id for row in self.table.where("valid_to IS NULL").collect()}


def test_shared_values_make_households_up_to_a_number(spark):
    many = {f"p{n}": ("9 Hall", None) for n in range(20, 24)}  # four at one address: the rule allows three
    found = World(spark).run(
        1,
        {
            "p1": ("12, High Street", None),
            "p2": ("12 high st.", "d1"),
            "p3": (None, "d1"),
            "p4": (None, "unknown"),
            "p5": (None, "unknown"),
            "p6": ("1 Elm Road", "d2"),
        }
        | many,
    )
    assert set(found) == {"p1", "p2", "p3"} and len(set(found.values())) == 1


def test_too_large_a_household_falls_apart_along_its_weakest_rule(spark):
    streets = {f"p{n}": (f"{n // 3} Elm", f"d{n % 3}" if n % 3 == 0 else None) for n in range(6)}
    found = World(spark).run(1, streets)
    assert found["p0"] == found["p1"] == found["p2"] != found["p3"] == found["p4"] == found["p5"]


def test_ids_outlive_growth_moves_and_reruns(spark):
    world = World(spark)
    pair = {"p2": ("1 Elm", None), "p3": ("1 Elm", None)}
    first = world.run(1, pair)
    assert len(set(first.values())) == 1
    grown = world.run(2, pair | {"p1": ("1 Elm", None)})  # an older person moves in: the name stays
    assert set(grown.values()) == set(first.values())
    rows = sorted(map(str, world.table.collect()))
    assert world.run(2, {"p1": ("1 Elm", None)} | pair) == grown
    assert sorted(map(str, world.table.collect())) == rows
    home = {"p1": ("1 Elm", None), "p3": ("1 Elm", None)}
    moved = world.run(3, home | {"p2": ("2 Oak", None), "p9": ("2 Oak", None)})
    assert moved["p1"] == moved["p3"] == first["p3"]  # who stays keeps the name, its first holder gets another
    assert moved["p2"] == moved["p9"] != first["p2"]
    ended = world.run(4, {"p1": ("1 Elm", None), "p2": ("2 Oak", None)})
    assert ended == {}
    assert world.table.where("valid_to IS NULL").isEmpty() and world.table.count() == 5


def test_addresses_are_compared_plainly(spark):
    same = [("12, High Street", "12 high st."), ("Hauptstraße 5", "Hauptstr. 5"), ("3 Mill Road", "3 MILL RD")]
    same += [("Bélastr. 5", unicodedata.normalize("NFD", "Bélastr. 5")), ("गली 3", "गली, 3")]
    apart = [("1 High Street", "12 High Street"), ("1 St John's Road", "1 John's Road"), ("गली 3", "गल 3"), ("", "-")]
    frame = spark.createDataFrame(same + apart, "a string, b string")
    found = [row.same for row in frame.select((plain(F.col("a")) == plain(F.col("b"))).alias("same")).collect()]
    assert found == [True] * 5 + [False] * 3 + [None]


def test_a_rule_names_what_is_there(conf):
    from cdp_spark.config.cross import _households
    from tests.conftest import ROOT

    rules = RULES["households"] | {"rules": {"a": {"columns": ["stret"]}, "b": {"namespace": "device"}}}
    wrong = Identity.model_validate(RULES | {"households": rules})
    told = _households(conf.model_copy(update={"identity": wrong}), ROOT / "conf")
    assert "did you mean 'street'" in told[0] and "did you mean 'device_id'" in told[1]
    with pytest.raises(ValueError, match="either `columns`"):
        Identity.model_validate(RULES | {"households": {"rules": {"x": {}}}})
