"""Journeys move everybody as a plain walk would, and act on nobody twice a day; mistakes in them die before a run."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from cdp_spark.audiences.journeys import carried, entered, moved
from cdp_spark.audiences.offers import ranked
from cdp_spark.config.journeys import Journey, Offer
from cdp_spark.config.load import ConfError, load
from tests.conftest import ROOT
from tests.tables import table
from tests.test_config import edit, folder  # noqa: F401  a deployment to break

BASE = {"description": "", "owner": "", "purpose": "marketing_email", "audience": "vip"}
TODAY = date(2026, 6, 10)
JOURNEYS = {
    "a": Journey.model_validate(BASE | {"priority": 2, "again_after_days": 5, "stay_in_audience": True, "steps": {
        "hello": {"send": "hello", "to": "x"}, "pause": {"wait": "3 days"},
        "asked": {"branch": "silver.orders", "then": "thanks", "otherwise": "tempt"},
        "tempt": {"offer": ["o1", "o2"], "to": "x"}, "out": {"leave": "tempted"},
        "thanks": {"send": "thanks", "to": "y"}}}),
    "b": Journey.model_validate(BASE | {"priority": 1, "steps": {
        "seen": {"branch": "silver.events", "then": "end"}, "nudge": {"offer": ["o2"], "to": "x"},
        "pause": {"wait": "1 days"}, "again": {"send": "again", "to": "x"}, "end": {"leave": "seen"}}}),
}  # fmt: skip


def walk(before: dict, facts: dict) -> dict[str, dict]:
    """One person's states after TODAY: a loop over the steps. before: {journey: state}; facts: of the person."""
    wishes, after = [], {}
    for name, rule in JOURNEYS.items():
        state, own = dict(before[name]), facts[name]
        while (way := onward(name, state, own, facts["sent"])) is not None:
            where, why = way
            state.update(step=where, since=TODAY, reason=why if where is None else None)
        after[name] = state | dict.fromkeys(("at", "action", "to", "value"))
        key = state["step"]
        if key and rule.steps[key].acts and (wish := wished(name, key, own, facts["sent"])):
            wishes.append((rule.priority, name, key, *wish))
    if wishes:
        _, name, key, action, value = min(wishes)
        below = JOURNEYS[name].below(key)
        after[name].update(at=key, action=action, to=JOURNEYS[name].steps[key].to, value=value, step=below,
                           since=TODAY, acted=TODAY, reason=None if below else "done")  # fmt: skip
    return after


def onward(name: str, state: dict, own: dict, sent: tuple | None) -> tuple[str | None, str] | None:
    """Where a person goes from where they stand, and why they leave if it is nowhere; None: they stay."""
    rule, key = JOURNEYS[name], state["step"]
    if key is None:
        return None
    step, below = rule.steps[key], rule.below(key)
    if not own["may"] or (rule.stay_in_audience and not own["inside"]):
        return None, "audience" if own["may"] else "permission"
    if step.branch:
        last = own["happened"].get(key)
        yes = last is not None and last >= (state["acted"] or state["entered"])
        return (step.then if yes else step.otherwise or below), "done"
    if step.leave:
        return None, step.leave
    nothing = step.offer and not set(own["offers"]) & set(step.offer) and sent != (name, key)
    return (below, "done") if nothing or (step.wait and state["since"] + step.wait <= TODAY) else None


def wished(name: str, key: str, own: dict, sent: tuple | None) -> tuple[str, float | None] | None:
    """Action and expected value that a person's step asks for; None where it may not."""
    if sent == (name, key):
        return "sent", 7.0
    if sent or own["capped"]:
        return None
    step = JOURNEYS[name].steps[key]
    best = next((offer for offer in own["offers"] if offer in step.offer), None)
    return step.send or best, own["offers"][best] if best else None


DAYS = st.integers(-9, 0).map(lambda n: TODAY + timedelta(n))


def states(rule: Journey):
    """Who stands at a step, or has left; entered before they acted, acted before they came where they are."""

    def state(drawn):
        days, step = sorted(drawn[0]), drawn[1]
        acted = days[1] if drawn[2] and step != rule.first else None
        return {"entered": days[0], "step": step, "since": days[2], "acted": acted, "reason": None if step else "done"}

    return st.tuples(st.lists(DAYS, min_size=3, max_size=3), st.sampled_from([*rule.steps, None]), st.booleans()).map(
        state
    )


MOSTLY = st.sampled_from([True, True, True, False])


def own(rule: Journey):
    branch = [key for key, step in rule.steps.items() if step.branch]
    return st.fixed_dictionaries({
        "may": MOSTLY, "inside": MOSTLY, "capped": MOSTLY.map(lambda yes: not yes),
        "happened": st.dictionaries(st.sampled_from(branch), DAYS),
        "offers": st.dictionaries(st.sampled_from(["o1", "o2"]), st.sampled_from([1.0, 2.5])),
    })  # fmt: skip


def sorted_offers(offers: dict) -> dict:
    return dict(sorted(offers.items(), key=lambda one: (-one[1], one[0])))


CASES = st.tuples(
    st.fixed_dictionaries({name: states(rule) for name, rule in JOURNEYS.items()}),
    st.fixed_dictionaries({name: own(rule) for name, rule in JOURNEYS.items()}
                          | {"sent": st.sampled_from([None, None, None, ("a", "tempt"), ("b", "again")])}),
)  # fmt: skip
ROW = "journey string, person_id string, entered date, step string, since date, acted date, reason string, " \
      "may boolean, inside boolean, capped boolean, happened map<string,date>, " \
      "offers array<struct<loss:double,offer:string>>, " \
      "sent struct<journey:string,step:string,action:string,expected_value:double>"  # fmt: skip


@settings(max_examples=3, deadline=None, derandomize=True)
@given(st.lists(CASES, min_size=60, max_size=60))
def test_everybody_moves_as_a_plain_walk_would(spark, cases):
    """Each case is a person on two journeys; all of them in one frame."""
    rows, expected = [], {}
    for i, (before, facts) in enumerate(cases):
        for name in JOURNEYS:
            facts[name]["offers"] = sorted_offers(facts[name]["offers"])
        expected |= {(name, f"p{i}"): state for name, state in walk(before, facts).items()}
        sent = facts["sent"] and (*facts["sent"], "sent", 7.0)
        for name in JOURNEYS:
            state, mine = before[name], facts[name]
            happened = {f"{name}.{key}": on for key, on in mine["happened"].items()}
            offers = [(-value, offer) for offer, value in mine["offers"].items()]
            known = [mine[fact] for fact in ("may", "inside", "capped")]
            rows.append((name, f"p{i}", *state.values(), *known, happened, offers, sent))
    found = moved(spark.createDataFrame(rows, ROW), JOURNEYS, TODAY).collect()
    got = {(r["journey"], r["person_id"]): r.asDict() for r in found}
    assert len(found) == len(got) == 2 * len(cases)
    for key, state in expected.items():
        row = got[key] | {"value": got[key]["expected_value"]}
        assert {name: row[name] for name in state} == state, (key, cases[int(key[1][1:])])
    acted = [key[1] for key, row in got.items() if row["at"]]
    assert len(acted) == len(set(acted))


def test_who_enters_and_who_goes_on_after_merges_and_splits(spark):
    previous = table(
        spark,
        """
        journey string | person_id string | entered date | step string | since date | acted date | reason string
        a              | kept             | 2026-06-01   | pause       | 2026-06-01 | 2026-06-01 |
        a              | merged           | 2026-05-01   | asked       | 2026-06-02 | 2026-06-01 |
        a              | ready            | 2026-05-01   |             | 2026-06-05 | 2026-06-01 | done
        a              | early            | 2026-05-01   |             | 2026-06-06 | 2026-06-01 | done
        a              | refused          | 2026-06-09   |             | 2026-06-09 |            | permission
        a              | erased           | 2026-06-01   | pause       | 2026-06-01 |            |
        b              | ready            | 2026-05-01   |             | 2026-05-05 | 2026-05-01 | done
        gone           | kept             | 2026-05-01   | any         | 2026-05-05 |            |
        """,
    )
    members = table(
        spark,
        """
        subject_key string | person_id string | valid_from date | valid_to date
        k1                 | kept             | 2026-01-01      |
        k2                 | merged           | 2026-01-01      | 2026-06-05
        k2                 | kept             | 2026-06-05      |
        k3                 | ready            | 2026-01-01      |
        k4                 | early            | 2026-01-01      |
        k5                 | refused          | 2026-01-01      |
        k6                 | new              | 2026-06-01      |
        k7                 | early            | 2026-01-01      | 2026-06-07
        k7                 | part             | 2026-06-07      |
        """,
    )
    inside = table(spark, "audience string | person_id string\n vip | " + "\n vip | ".join(
        ("kept", "ready", "early", "refused", "new")) + "\n other | part")  # fmt: skip
    rows = entered(carried(previous, members), inside, JOURNEYS, TODAY).collect()
    found = {(r["journey"], r["person_id"]): (str(r["entered"]), r["step"]) for r in rows}
    assert len(rows) == len(found)
    anew = str(TODAY)
    assert found == {
        ("a", "kept"): ("2026-05-01", "asked"),  # the one who entered first
        ("a", "ready"): (anew, "hello"), ("a", "early"): ("2026-05-01", None),
        ("a", "refused"): (anew, "hello"), ("a", "new"): (anew, "hello"),
        ("b", "ready"): ("2026-05-01", None), ("b", "kept"): (anew, "seen"), ("b", "early"): (anew, "seen"),
        ("b", "refused"): (anew, "seen"), ("b", "new"): (anew, "seen"),
    }  # fmt: skip


def test_the_best_offer_is_that_of_the_highest_expected_value(spark):
    offers = {
        "cheap": Offer(description="", score="0.5", value=10, cost=1),  # 4
        "rich": Offer(description="", score="s", value="v", cost=2, where="tier = 'gold'"),
        "also": Offer(description="", score="0.2", value=25, cost=1, rest_days=10),  # 4, but the name comes first
    }
    people = table(
        spark,
        """
        person_id string | tier string | s double | v double | last date
        gold             | gold        | 0.5      | 20       |
        poor             | gold        | 0.1      | 20       |
        unknown          | gold        |          | 20       |
        nan              | gold        | NaN      | 20       |
        tin              | tin         | 1        | 20       | 2026-06-01
        rested           | tin         | 1        | 20       | 2026-05-31
        """,
    ).withColumn("offered", F.when(F.col("last").isNotNull(), F.create_map(F.lit("also"), "last")))
    found = people.select("person_id", ranked(offers, TODAY).alias("o")).collect()
    got = {row["person_id"]: [(one["offer"], -one["loss"]) for one in row["o"]] for row in found}
    both = [("also", 4.0), ("cheap", 4.0)]
    assert got == {"gold": [("rich", 8.0), *both], "poor": both, "unknown": both, "nan": both, "tin": both[1:],
                   "rested": both}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("journeys/come_back.yml", "audience: winback", "audience: winbak", "did you mean 'winback'"),
        ("journeys/come_back.yml", "purpose: marketing_email", "owner_2: x", "purpose: "),
        ("journeys/come_back.yml", "purpose: marketing_email", "purpose: mail", "no purpose 'mail'"),
        ("journeys/come_back.yml", "[voucher, free", "[vouchers, free", "did you mean 'voucher'"),
        (
            "journeys/come_back.yml",
            "_you, to: crm_journeys",
            "_you, to: crm_journey",
            "did you mean 'crm_journeys'",
        ),
        ("journeys/come_back.yml", "_you, to: crm_journeys", "_you, to: crm_file", "does not take this journey"),
        ("journeys/come_back.yml", "then: back", "then: remind", "no step below 'remind'"),
        ("journeys/come_back.yml", "then: back, ", "then: end, ", "steps.back: nobody can come here"),
        ("journeys/come_back.yml", "branch: silver.orders", "branch: silver.order", "did you mean 'silver.orders'"),
        ("journeys/come_back.yml", "\"status = 'paid'\"", "\"statu = 'paid'\"", "did you mean 'status'"),
        ("journeys/come_back.yml", "wait: 5 days", "wait: 5 hours", "whole days"),
        ("journeys/come_back.yml", "{wait: 5 days}", "{wait: 5 days, to: crm_journeys}", "only with them"),
        ("journeys/come_back.yml", "{wait: 5 days}", "{}", "exactly one of send, offer, wait, branch, leave"),
        ("offers.yml", "spend_365d", "spend_356d", "did you mean 'spend_365d'"),
        ("destinations/crm_journeys.yml", "sync: upsert", "sync: full", "action is sent once"),
        ("destinations/crm_journeys.yml", "[come_back]", "[come_bak]", "did you mean 'come_back'"),
        ("destinations/crm_journeys.yml", "  action_id: {column: action_id}\n", "", "each action needs its id"),
        ("destinations/crm_file.yml", "{column: audience}", "{column: action_id}", "no column 'action_id'"),
    ],
)
def test_a_mistake_dies_before_a_run(folder, file, old, new, told):  # noqa: F811
    edit(folder, file, old, new)
    with pytest.raises(ConfError, match=r".") as error:
        load(folder)
    assert file.split("/")[-1] in str(error.value) and told in str(error.value)


def test_the_shipped_journey_can_be_walked():
    conf = load(ROOT / "conf")
    assert conf.journeys["come_back"].after("bought") == {"back", "tempt"}
    assert conf.destinations["crm_journeys"].units == (("action_id",),)
