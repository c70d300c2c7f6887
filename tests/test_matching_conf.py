"""Can a deployment say itself what is compared, how alike is alike, and which records are compared at all?"""

from __future__ import annotations

import pytest

from cdp_spark.config.load import ConfError, load
from cdp_spark.config.matching import Matching, filled
from cdp_spark.identity.matching import blocking, records
from cdp_spark.identity.matching.comparisons import comparisons
from cdp_spark.identity.matching.match import plan_of
from cdp_spark.identity.matching.train import trained
from tests.people import register
from tests.test_matching import CUSTOMER, customers

SOURCE = """
description: a list
entity: customers
format: csv
path: list.csv
fields: [id, first, last, born, zip, mail, vat]
key: [id]
columns: {first_name: first, last_name: last, birth_text: born, postcode: zip, email: mail, vat: vat}
"""
OWN = """
matching:
  enabled: true
  fields: {vat: code}
  blocking: [email, [last_name, "substr(birth_text, 1, 4)"], [vat]]
  comparisons:
    email: false
    last_name: {levels: [equal, 0.2, "left(last_name_l, 3) = left(last_name_r, 3)"], says: 9}
    postcode: {levels: [equal]}
    vat: {own: false}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "list.yml").write_text(SOURCE)
    (tmp_path / "identity.yml").write_text(OWN)
    return tmp_path


def test_conf_says_what_is_compared_how_and_what_is_blocked_by(folder):
    plan = plan_of(load(folder))
    assert [(rule.name, rule.parts) for rule in plan.blocked] == [
        ("email", ("email",)),
        ("last_name+substr(birth_text, 1, 4)", ("family", "substr(birth, 1, 4)")),
        ("vat", ("x_vat",)),
    ]
    by = {one.name: one for one in plan.compared}
    assert "email" not in by and not by["x_vat"].own and {"given", "birth", "place"} <= by.keys()
    assert [level.when for level in by["family"].levels] == [
        "family_l = family_r",
        "family_d <= greatest(0, 0.2 * family_n)",
        "(left(family_l, 3) = left(family_r, 3))",
    ]
    assert by["family"].says == 9 and [level.label for level in by["postcode"].levels] == ["equal"]
    (folder / "identity.yml").write_text(OWN.replace("[equal, 0.2,", "[equal, 0.3,"))
    assert plan_of(load(folder)).model_id != plan.model_id  # other levels have other weights


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[vat]]", "[vatt]]", "blocking, rule 3: no column 'vatt'; did you mean 'vat'?"),
        ("[vat]]", "[phone]]", "blocking, rule 3: no column 'phone'"),
        ("[vat]]", "[]]", "blocking.2: "),
        ("email: false", "emial: false", "comparisons: no mapped column or comparison 'emial'; did you mean 'email'?"),
        ("email: false", "email: {level: [equal]}", "unknown key; did you mean 'levels'?"),
        ("[equal, 0.2,", "[equal, 2,", "shares of letters that may differ, between 0 and 1 and rising"),
        ("left(last_name_r", "soundex(last_name_r", "no function 'soundex' here"),
        ("left(last_name_r", "left(last_nam_r", "no column 'last_nam_r'; did you mean 'last_name_r'?"),
        ('"left(last_name_l, 3) = left(last_name_r, 3)"', "last_name_l", "expected a condition"),
    ],
)
def test_what_cannot_be_compared_is_told_at_load(folder, old, new, told):
    assert old in OWN
    (folder / "identity.yml").write_text(OWN.replace(old, new))
    with pytest.raises(ConfError) as error:
        load(folder)
    assert told in str(error.value)


def test_pairs_and_weights_are_those_of_conf(spark):
    people, _ = register(31, 60, 0.8, 2)
    how = Matching.model_validate({"blocking": [["last_name", "left(birth_text, 4)"]], "comparisons": {
        "last_name": {"levels": ["equal", "left(last_name_l, 2) = left(last_name_r, 2)"]}}})  # fmt: skip
    columns = filled({name for name in people if name in CUSTOMER.split()}, {})
    rows = records.prepared(customers(spark, people), {}).localCheckpoint()
    rules = blocking.rules(columns, {}, how.blocking)
    pairs = blocking.proposals(blocking.sized(rows, rules), {rules[0].name: 60}, ()).select("a", "b").collect()
    flat = rows.drop("event_time").toPandas()
    key = {row.subject_key: (row.family, row.birth[:4]) for row in flat.dropna(subset=["family", "birth"]).itertuples()}
    assert pairs and all(key[row.a] == key[row.b] for row in pairs)
    model = trained(flat, comparisons(columns, {}, how.comparisons), seed=1, max_pairs=2e5)
    family = next(one for one in model["comparisons"] if one["output_column_name"] == "family")
    assert [level["label_for_charts"] for level in family["comparison_levels"]][1] == "equal"
    assert all("m_probability" in level for level in family["comparison_levels"][1:])
