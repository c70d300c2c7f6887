"""Are people found who share no identifier, and are relatives, namesakes and shared things kept apart?"""

from __future__ import annotations

import json
import random
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from cdp_spark.config.load import ConfError, load
from cdp_spark.config.matching import COLUMNS, Matching, filled
from cdp_spark.config.source import Identity
from cdp_spark.identity.incremental import Base
from cdp_spark.identity.matching import blocking, counted, records
from cdp_spark.identity.matching.comparisons import comparisons
from cdp_spark.identity.matching.links import Plan, matched
from cdp_spark.identity.matching.score import least_own, mixture, scored, with_rarity
from cdp_spark.identity.matching.train import trained
from cdp_spark.identity.matching.weights import similarities_sql, weighted
from tests.conftest import ROOT
from tests.people import CONTACTS, register, survey
from tests.test_identity_people import ONE, RULES, TWO
from tests.test_identity_people import people as resolve

CUSTOMER = """
kind first_name middle_name last_name full_name company national_id account_number birth_date birth_text
gender email phone house_number street unit city state postcode
"""


def customers(spark, people: pd.DataFrame):
    frame = people.reindex(columns=["subject_key", *CUSTOMER.split()]).astype(object)
    frame = frame.where(frame.notna(), None)
    shape = ", ".join(f"{name} {'date' if name == 'birth_date' else 'string'}" for name in frame.columns)
    rows = spark.createDataFrame(frame.values.tolist(), shape)
    return rows.selectExpr("*", "split_part(subject_key, '|', 1) AS source", "timestamp'2026-01-01' AS event_time")


def found_in(spark, people: pd.DataFrame, distinct: tuple[str, ...] = (), **settings):
    """What matching finds among `people`, by the same calls as the step."""
    columns = filled({name for name in people if name in CUSTOMER.split()}, {})
    rows = records.prepared(customers(spark, people), {}).localCheckpoint()
    plan = Plan(comparisons(columns, {}), blocking.rules(columns, {}), "model")
    fitted = trained(rows.drop("event_time").toPandas(), plan.compared, seed=1, max_pairs=2e5)
    rules = Identity(matching=Matching(enabled=True, **settings), distinct_sources=distinct)
    return matched(rows, plan, new_model(fitted), rules)


def new_model(fitted: dict) -> dict:
    """As a run has it that has just trained: nothing is counted yet."""
    return {"settings": json.dumps(fitted)} | dict.fromkeys(("partners", "relatives", "counted"))


def ends(found) -> set[tuple[str, str]]:
    return {(row.a, row.b) for row in found.links.where("refused IS NULL").select("a", "b").collect()}


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


def measured(links: set[tuple[str, str]], truth: dict) -> tuple[float, float]:
    """(precision, recall) over pairs."""
    found, true = pairs_of(clusters(links, truth)), pairs_of(truth)
    return len(found & true) / len(found), len(found & true) / len(true)


def test_families_are_kept_apart_and_movers_found(spark):
    people, entities = survey(11, 180)
    # a telephone that every twentieth record gives, and an e-mail address for each household
    people["phone"] = np.where(people.index % 20 == 0, "+442079460000", None)
    people["email"] = people["street"].str.replace(" ", "") + "@home.example"
    truth = dict(zip(people["subject_key"], entities, strict=True))
    found = found_in(spark, people)
    precision, recall = measured(ends(found), truth)
    assert precision >= 0.97 and recall >= 0.9
    assert found.relatives > 1  # the file's own households were seen


@pytest.fixture(scope="module")
def grown(spark):
    """(links, links after one new record that a stranger brought, links of twice the file, the model as it stands)."""
    people, _ = register(31, 110, 0.8, 2)
    new = {"subject_key": "new|1", "first_name": "Zebedee", "last_name": "Quux", "birth_text": "19010203"}
    stranger = people.tail(1).assign(national_id="1", **new)
    columns = filled({name for name in people if name in CUSTOMER.split()}, {})
    plan = Plan(comparisons(columns, {}), blocking.rules(columns, {}), "model")
    more = people.assign(subject_key="more|" + people.index.astype(str))
    files = [people, pd.concat([people, stranger]), pd.concat([people, more, stranger])]
    model, found = None, []
    for file in files:
        rows = records.prepared(customers(spark, file), {}).localCheckpoint()
        model = model or new_model(trained(rows.drop("event_time").toPandas(), plan.compared, seed=1, max_pairs=2e5))
        one = matched(rows, plan, model, Identity(matching=Matching(enabled=True)))
        model |= {"partners": one.partners, "relatives": one.relatives, "counted": counted.written(one.counted)}
        found.append((one.links.localCheckpoint(), dict(model)))
    return found


def test_a_new_record_changes_no_score_of_others_until_the_file_has_doubled(grown):
    found = [{(row.a, row.b): row.score for row in links.collect()} for links, _ in grown]
    assert len(found[0]) > 20
    assert {pair: score for pair, score in found[1].items() if "new|1" not in pair} == found[0]
    assert grown[1][1] == grown[0][1]
    assert grown[2][1]["counted"] != grown[1][1]["counted"] and found[2].items() & found[0].items() == set()


def test_no_value_stands_in_a_model(grown):
    people, _ = register(31, 110, 0.8, 2)
    told = grown[0][1]["counted"].lower()
    assert json.loads(told)["shares"]["family"]  # common ones are there, by their hashes
    assert not [name for name in people["last_name"].dropna() if name.lower() in told]


def test_each_similarity_is_computed_once_a_pair(spark, grown):
    """In the plan that Spark runs: it must not write a similarity out in each of the levels that ask for it."""
    spark.conf.set("spark.sql.debug.maxToStringFields", "1000")  # a plan is shown in full
    people, _ = register(31, 20, 0.8, 2)
    rows = records.prepared(customers(spark, people), {})
    compared = comparisons(filled({name for name in people if name in CUSTOMER.split()}, {}), {})
    weights = weighted(json.loads(grown[0][1]["settings"]), compared)
    pairs = spark.createDataFrame([("a", "b")], "a string, b string")
    found = scored(pairs, with_rarity(rows.localCheckpoint(), weights, counted.read(grown[0][1]["counted"])), weights)
    plan = found.select("total", "own")._jdf.queryExecution().optimizedPlan().toString()
    spark.conf.unset("spark.sql.debug.maxToStringFields")
    wanted = sum(sql.count("levenshtein(") for sql in similarities_sql(weights).values())
    assert 4 < plan.count("levenshtein(") <= wanted


def test_a_new_record_leaves_a_run_with_matching_incremental(spark, grown):
    keys = sorted({row[side] for row in grown[0][0].collect() for side in "ab"} | {f"alone|{n}" for n in range(20)})
    rules = RULES.model_copy(update={"incremental": "auto", "match_min_score": None, "distinct_sources": ()})
    links = [[(r.a, r.b, r.score, r.rule) for r in found.collect()] for found, _ in grown[:2]]
    seen = [(key, "record", key) for key in keys]
    one = resolve(spark, seen, links[0], [], ONE, rules)
    base = Base(one.components, one.violations.localCheckpoint())
    kept = {"members": one.members.localCheckpoint(), "known": one.anchors}
    two = resolve(spark, [*seen, ("new|1", "record", "new|1")], links[1], [], TWO, rules, **kept, base=base)
    assert two.work["incremental"] == 1 and two.work["touched_keys"] <= 3
    assert one.work["keys"] == len(keys) > 60


def test_what_was_counted_outlives_its_text(spark, grown):
    text = grown[0][1]["counted"]
    assert counted.written(counted.read(text)) == text and counted.read(None) is None
    small, large = counted.Size(100, 0.0), counted.Size(201, 0.0)
    known = counted.Counted(small, {}, {})
    assert counted.holds(known, small._replace(records=200)) and not counted.holds(known, large)
    assert not counted.holds(known._replace(size=large), small)


def test_records_with_several_errors_are_found_and_empty_ones_stay_alone(spark):
    people, entities = register(12, 350, 1.2, 5)
    truth = dict(zip(people["subject_key"], entities, strict=True))
    nobody = {f"u|{n}" for n in range(3)}
    for key in sorted(nobody):  # records that say nothing, or nothing that tells anybody from anybody
        people.loc[len(people)] = {"subject_key": key, "state": "nw", "first_name": " " if key == "u|0" else None}
    found = found_in(spark, people, max_group=3)
    links = ends(found)
    precision, recall = measured(links, truth)
    assert precision >= 0.99 and recall >= 0.95
    assert not nobody & {key for pair in links for key in pair}
    assert found.large > 0 and found.most > 3  # told, and compared all the same where blocking proposed it
    assert found.relatives < 0.1


def test_copies_are_one_person_however_many_if_they_say_enough(spark):
    said = {"first_name": "Ann", "last_name": "Lee", "birth_text": "19800102", "city": "York"}
    people = pd.DataFrame(
        [said | {"subject_key": f"{source}|{n}"} for source in "st" for n in range(3)]
        + [{"first_name": "Ann", "last_name": "Lee", "city": "York", "subject_key": f"s|{n}"} for n in (7, 8)]
    )
    rows = records.prepared(customers(spark, people), {})
    compared = comparisons(filled(set(people), {}), {})
    for distinct, wanted in ((), {"s|1", "s|2", "t|0", "t|1", "t|2"}), (("t",), {"s|1", "s|2"}):
        found = blocking.copies(rows, compared, distinct).collect()
        assert {row.key for row in found} == wanted and {row["first"] for row in found} == {"s|0"}


def test_common_values_and_large_rules_propose_less_and_are_counted(spark):
    people = pd.DataFrame([{"subject_key": f"s|{n:02}", "email": "one@x.example", "phone": f"p{n // 3}",
                            "city": f"c{n // 2}"} for n in range(30)])  # fmt: skip
    rows = records.prepared(customers(spark, people), {})
    used = [blocking.Rule(name, (name,), (name,)) for name in ("email", "phone", "city")]
    keyed = blocking.sized(rows, used).localCheckpoint()
    limits = blocking.caps(keyed, used, max_block=20, max_pairs=20)
    assert limits == {"email": 20, "phone": 2, "city": 20}  # ten blocks of three are thirty pairs
    told = blocking.report(keyed, limits, 7).orderBy("rule").collect()
    assert [tuple(row) for row in told] == [
        ("city", 15, 0, 2, 20), ("email", 0, 1, 30, 20), ("identical", 7, 0, 0, None), ("phone", 0, 10, 3, 2)
    ]  # fmt: skip
    proposed = blocking.proposals(keyed, limits, ()).collect()
    assert sorted((row.rule, row.a, row.b) for row in proposed)[0] == ("city", "s|00", "s|01")
    assert len(proposed) == 15
    assert blocking.proposals(keyed, limits, ("s",)).count() == 0  # a source that holds each person once


def test_people_relatives_and_strangers_are_told_apart_by_their_numbers():
    # weights as trained models give them: one person, two of a household, strangers
    seen = {(35.0, 18.0): 500, (15.0, -9.0): 2_000, (-20.0, -9.0): 30_000}
    several, kin = mixture(seen, 10_000, 5e7)
    assert several == pytest.approx(0.1, rel=0.02) and kin == pytest.approx(0.4, rel=0.02)
    assert mixture({}, 100, 4950) == (0.0, 0.0)
    assert least_own(3, 1, 0.7) == pytest.approx(2.807, abs=0.001)
    assert least_own(3, 0.1, 0.7) > least_own(3, 1, 0.7) > least_own(0, 1, 0.7)


def test_a_model_is_the_same_bytes_whatever_the_order_of_rows():
    people, _ = register(3, 150, 1, 3, CONTACTS)
    rng = random.Random(1)
    sample = pd.DataFrame({"subject_key": people["subject_key"], "given": people["first_name"],
                           "family": people["last_name"], "birth": people["birth_text"]})  # fmt: skip
    empty = ["given_root", "given_letters", "family_letters", "family_as_given", "given_as_family", "middle_as_given"]
    sample = sample.assign(**dict.fromkeys(empty))
    compared = comparisons({"given", "family", "birth"}, {})
    order = rng.sample(range(len(sample)), len(sample))
    one, two = (json.dumps(trained(rows, compared, seed=5)) for rows in (sample, sample.iloc[order]))
    assert one == two and '"m_probability"' in one


def test_a_day_without_anybody_trains_nothing():
    nobody = pd.DataFrame(columns=["subject_key", "source", *COLUMNS])
    compared = comparisons(filled({"first_name", "last_name", "birth_text"}, {}), {})
    found = trained(nobody, compared, seed=1)
    assert found["u_pairs"] == 0 and len(weighted(found, compared)) == len(compared)


def test_a_field_that_no_source_maps_is_refused_and_one_that_is_mapped_is_a_column(tmp_path):
    (tmp_path / "sources").mkdir()
    source = (ROOT / "tests/real/identity/febrl3/sources/records.yml").read_text()
    (tmp_path / "sources" / "records.yml").write_text(source)
    (tmp_path / "identity.yml").write_text("matching: {enabled: true, fields: {title: free_text}}\n")
    with pytest.raises(ConfError, match=r"matching\.fields: no mapped column 'title'"):
        load(tmp_path)
    (tmp_path / "sources" / "records.yml").write_text(source + "  title: address_2\n")
    assert load(tmp_path).tables["silver.customers"].columns["title"].type == "string"
