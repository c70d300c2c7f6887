"""Cutting a component: against every possible choice, in any row order, and with a steward's word."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_spark.config.identity import read_links
from cdp_spark.identity.cut import cut
from tests.reference import lexicographic, union_find

COUNTS = {"birth_date": 1, "email": 2, "distinct_source": 1, "cannot_link": 1}
LINK = ["subject_key", "namespace", "value", "other_key", "priority", "score", "first_seen"]
FACT = ["subject_key", "namespace", "value", "constraint", "place", "item"]
KEYS = st.sampled_from(["a|1", "a|2", "b|1", "b|2", "c|1"])
VALUE_LINKS = st.tuples(KEYS, st.sampled_from(["email", "card"]), st.sampled_from("xyz"), st.integers(1, 3))
PAIR_LINKS = st.tuples(KEYS, KEYS, st.sampled_from([0.5, 0.7, 0.9])).filter(lambda pair: pair[0] < pair[1])
DATES = st.dictionaries(KEYS, st.sampled_from(["1980-01-01", "2010-01-01"]), max_size=4)
CANNOTS = st.lists(st.tuples(KEYS, KEYS).filter(lambda pair: pair[0] < pair[1]), max_size=2)


def value_link(key, namespace, value, day=1, priority=3):
    return (key, namespace, value, None, priority, None, datetime(2026, 1, day))


def pair_link(key, other, score=None, namespace="match", priority=4):
    return (key, namespace, other, other, priority, score, None)


def own(key, constraint, place, item):
    return (key, None, None, constraint, place, item)


def run(links, facts):
    """{key: part}, [(key, namespace, value, code)]"""
    found, refused = cut(pd.DataFrame(links, columns=LINK), pd.DataFrame(facts, columns=FACT), COUNTS)
    return found, sorted(zip(*(refused[c] for c in ("subject_key", "namespace", "value", "code")), strict=True))


def facts_of(links, dates, cannots):
    facts = [own(key, "birth_date", "", day) for key, day in dates.items()]
    facts += [own(key, "distinct_source", "a", key) for key in ("a|1", "a|2")]
    facts += [own(key, "cannot_link", f"{a} {b}", key) for a, b in cannots for key in (a, b)]
    facts += [(key, ns, value, "email", "", value) for key, ns, value, *_ in links if ns == "email"]
    return facts


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(VALUE_LINKS, max_size=5), st.lists(PAIR_LINKS, max_size=3), DATES, CANNOTS, st.randoms())
def test_of_all_choices_the_strongest_is_taken(values, pairs, dates, cannots, random):
    links = {(key, ns, value): value_link(key, ns, value, day) for key, ns, value, day in values}
    links |= {(a, "match", b): pair_link(a, b, score) for a, b, score in pairs}
    order = sorted(links.values(), key=lambda r: (r[4], -(r[5] or 9), r[6] or datetime.max, r[1], r[2], r[0]))
    facts = facts_of(order, dates, set(cannots))

    def nodes(row):
        return ("k", row[0]), ("k", row[3]) if row[3] else ("v", row[1], row[2])

    plain = [(("v", f[1], f[2]) if f[1] else ("k", f[0]), *f[3:]) for f in facts]
    taken = lexicographic([nodes(row) for row in order], plain, COUNTS)
    shuffled = list(order), list(facts)
    for rows in shuffled:
        random.shuffle(rows)
    found, refused = run(*shuffled)
    assert [r[:3] for r in refused] == sorted(row[:3] for n, row in enumerate(order) if n not in taken)
    root = union_find([(("k", key), ("k", key)) for key in found] + [nodes(order[n]) for n in taken])
    groups = {key: {other for other in found if root[("k", other)] == root[("k", key)]} for key in found}
    assert {key: {o for o in found if found[o] == found[key]} for key in found} == groups


def test_one_to_one_between_sources_without_duplicates():
    facts = [own(key, "distinct_source", key[0], key) for key in ("a|1", "a|2", "b|1", "b|2")]
    links = [pair_link("a|1", "b|1", 0.9), pair_link("a|1", "b|2", 0.8), pair_link("a|2", "b|1", 0.7)]
    found, refused = run([*links, pair_link("a|2", "b|2", 0.6)], facts)
    assert found["a|1"] == found["b|1"] != found["a|2"] == found["b|2"]
    assert refused == [("a|1", "match", "b|2", "distinct_source"), ("a|2", "match", "b|1", "distinct_source")]


def test_a_must_link_wins_over_limits_but_not_over_a_cannot_link():
    dates = [own("a|1", "birth_date", "", "1980-01-01"), own("b|1", "birth_date", "", "2010-01-01")]
    must = pair_link("a|1", "b|1", namespace="must_link", priority=0)
    found, refused = run([must, value_link("c|1", "card", "7"), value_link("a|1", "card", "7")], dates)
    assert len(set(found.values())) == 1 and not refused
    never = [own(key, "cannot_link", "a|1 b|1", key) for key in ("a|1", "b|1")]
    found, refused = run([must], dates + never)
    assert found["a|1"] != found["b|1"]
    assert refused == [("a|1", "must_link", "b|1", "cannot_link")]


def test_limits_count_within_their_window():
    emails = [("m1", 1, "w1"), ("m2", 1, "w1"), ("m3", 1, "w1"), ("m4", 9, "w2")]
    links = [value_link("k|1", "email", value, day) for value, day, _ in emails]
    facts = [("k|1", "email", value, "email", week, value) for value, _, week in emails]
    assert run(links, facts) == ({"k|1": run(links, facts)[0]["k|1"]}, [("k|1", "email", "m3", "limit_exceeded")])


def test_a_record_that_breaks_a_limit_alone_stays_one_and_takes_no_more():
    facts = [own("a|1", "birth_date", "", "1980-01-01"), own("a|1", "birth_date", "", "1981-01-01")]
    facts += [own("b|1", "birth_date", "", "1980-01-01"), own("c|1", "birth_date", "", "2010-01-01")]
    links = [value_link(key, "card", "7", day) for day, key in enumerate(("a|1", "b|1", "c|1"), 1)]
    found, refused = run(links, facts)
    assert found["a|1"] == found["b|1"] != found["c|1"]
    assert refused == [("c|1", "card", "7", "limit_exceeded")]


def test_a_hundred_thousand_links_are_cut_without_blowing_up():
    keys = [f"s|{n:06}" for n in range(50_000)]
    links = [value_link(key, "card", str(n // 2), 1) for n, key in enumerate(keys)]
    links += [value_link(key, "cookie", str((n + 1) // 2), 2, 6) for n, key in enumerate(keys)]
    facts = [own(key, "birth_date", "", str(n // 1000)) for n, key in enumerate(keys)]
    found, refused = run(links, facts)
    assert len(set(found.values())) == 50
    assert len(refused) == 49 and {code for *_, code in refused} == {"limit_exceeded"}


HEADER = "kind,left,right,author,reason,expires\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind,left,right\n", "line 1: expected the header kind,left,right,author,reason,expires"),
        (HEADER + "must_link,crm|C1,crm|C2,ann,one man\n", "line 2: expected 6 cells"),
        (HEADER + "merge,crm|C1,crm|C2,ann,one man,\n", "line 2, kind: Input should be 'must_link' or 'cannot_link'"),
        (HEADER + "must_link,C1,crm|C2,ann,one man,\n", "line 2, left: expected a subject key such as crm|C1"),
        (HEADER + "must_link,crm|C1,crm|C1,ann,one man,\n", "line 2, left, right: left and right are the same record"),
        (HEADER + "must_link,crm|C1,crm|C2,ann,,\n", "line 2, reason:"),
        (HEADER + "must_link,crm|C1,crm|C2,ann,one man,soon\n", "line 2, expires:"),
    ],
)
def test_a_bad_row_of_the_links_file_is_named_by_line_and_never_by_its_keys(tmp_path, text, told):
    (tmp_path / "links.csv").write_text(text)
    problems = []
    assert read_links(tmp_path / "links.csv", problems) == ()
    assert len(problems) == 1 and told in problems[0] and "C2" not in problems[0]


def test_links_are_read(tmp_path):
    rows = "must_link,crm|C1,crm|C2,ann,one man,\ncannot_link,crm|C1,crm|C3,ann,twins,2026-02-01\n"
    (tmp_path / "links.csv").write_text(HEADER + rows)
    problems = []
    found = read_links(tmp_path / "links.csv", problems)
    assert problems == [] and [(one.kind, str(one.expires)) for one in found] == [
        ("must_link", "None"),
        ("cannot_link", "2026-02-01"),
    ]
