"""What does an agreement weigh? A Fellegi-Sunter model fitted by Splink in DuckDB on a sample, the same every time."""

from __future__ import annotations

import copy
import json
import logging
from statistics import median
from typing import TYPE_CHECKING

import pandas as pd

from cdp_spark.identity.matching.comparison import Comparison

if TYPE_CHECKING:
    import duckdb
    from splink import Linker

# functions that Spark has and DuckDB lacks, so that one SQL text serves both
SHARED_WORDS = "len(list_intersect(a, b))"
MACROS = (f"CREATE MACRO array_overlap(a, b) AS {SHARED_WORDS} / (len(a) + len(b) - {SHARED_WORDS})",)
# blocking for the sessions of expectation maximisation: each names a person nearly alone, so that its pairs hold many
# matches; none is a household (address, phone), in which the model would learn what relatives share
SESSIONS = (
    ("national_id",),
    ("account_number",),
    ("email",),
    ("given", "family"),
    ("given_root", "birth"),
    ("family", "birth"),
    ("phone", "given_root"),
    ("address", "given_root"),
)
# where nobody has a given name: organisations, whose number is their own
ORGANISATION_SESSIONS = (("company",), ("phone",), ("address",))


def connection() -> duckdb.DuckDBPyConnection:
    """DuckDB in memory, one thread: sums come out in the same order every time."""
    import duckdb

    found = duckdb.connect(":memory:", config={"threads": 1})
    for macro in MACROS:
        found.execute(macro)
    return found


def settings(comparisons: list[Comparison]) -> dict:
    """Splink's settings for `comparisons`; blocking is ours."""
    return {
        "link_type": "dedupe_only",
        "unique_id_column_name": "subject_key",
        "probability_two_random_records_match": 1e-4,
        "max_iterations": 20,
        "blocking_rules_to_generate_predictions": [],
        "comparisons": [_splink(one) for one in comparisons],
    }


def _splink(one: Comparison) -> dict:
    first = {"sql_condition": one.null, "label_for_charts": "missing", "is_null_level": True}
    levels = [{"sql_condition": one.inlined(level.when), "label_for_charts": level.label} for level in one.levels]
    last = {"sql_condition": "ELSE", "label_for_charts": "differ"}
    return {"output_column_name": one.name, "comparison_levels": [first, *levels, last]}


def sessions(comparisons: list[Comparison]) -> list[str]:
    """Blocking rules of the training sessions that the compared columns allow."""
    filled = {column for one in comparisons for column in one.needs}
    known = SESSIONS if "given" in filled else (*SESSIONS, *ORGANISATION_SESSIONS)
    usable = [columns for columns in known if set(columns) <= filled]
    usable += [(one.name,) for one in comparisons if one.name.startswith("x_") and one.similarities]
    return [" AND ".join(f"l.{c} = r.{c}" for c in columns) for columns in usable]


def trained(sample: pd.DataFrame, comparisons: list[Comparison], *, seed: int, max_pairs: float = 1e6) -> dict:
    """Splink's settings with fitted m and u, and u_pairs (of which u was counted), as a dict that JSON can hold.

    sample: prepared records, one row a record, in any order.  u: from random pairs (`seed`).  m: the median over
    sessions, each a blocking rule under which expectation maximisation runs; every session starts from the same
    values, so that their order says nothing. A level that no session saw has no m.
    """
    if sample.empty:
        return settings(comparisons) | {"u_pairs": 0}
    from splink import DuckDBAPI, Linker

    logging.getLogger("splink").setLevel(logging.ERROR)
    rows = sample.sort_values("subject_key", ignore_index=True)
    texts = [name for name in rows if not name.endswith("_words")]  # a column without values would have no type
    table = DuckDBAPI(connection=connection()).register(rows.astype(dict.fromkeys(texts, "string")))
    # long texts cost as much as twenty short values: fewer pairs say enough of them
    max_pairs /= 1 + 2 * sum(any("_words" in name for name in one.needs) for one in comparisons)
    linker = Linker(table, settings(comparisons), log_level=None)
    linker.training.estimate_u_using_random_sampling(
        max_pairs=max_pairs, seed=seed, min_count_per_level=None, num_chunks=1
    )
    start = linker.misc.save_model_to_json()
    linkers = ((rule, Linker(table, start, log_level=None)) for rule in sessions(comparisons))
    fitted = [one for rule, linker in linkers if (one := _session(linker, rule, max_pairs / 10))]
    found = _with_medians(start, fitted) | {"u_pairs": min(max_pairs, len(rows) * (len(rows) - 1) / 2)}
    return json.loads(json.dumps(found))


def _session(linker: Linker, rule: str, max_pairs: float) -> dict | None:
    """One run of expectation maximisation; None for one without pairs, or whose matches never differ."""
    from splink.internals.exceptions import EMTrainingException

    try:
        linker.training.estimate_parameters_using_expectation_maximisation(
            rule, estimate_without_term_frequencies=True, max_pairs=max_pairs
        )
    except (EMTrainingException, ValueError):
        logging.getLogger(__name__).debug("no training by %s", rule)
        return None
    return linker.misc.save_model_to_json()


def _with_medians(start: dict, fitted: list[dict]) -> dict:
    """`start` with the median m of each level over the models in `fitted` that have one, without its random name."""
    found = copy.deepcopy(start)
    found.pop("linker_uid", None)
    for n, comparison in enumerate(found["comparisons"]):
        for k, level in enumerate(comparison["comparison_levels"]):
            seen = [one["comparisons"][n]["comparison_levels"][k].get("m_probability") for one in fitted]
            if known := [m for m in seen if m is not None]:
                level["m_probability"] = median(known)
    return found
