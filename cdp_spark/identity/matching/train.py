"""What does an agreement weigh? A Fellegi-Sunter model fitted by Splink in DuckDB on a sample, the same every time."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pandas as pd

from cdp_spark.identity.matching.comparisons import Comparison

if TYPE_CHECKING:
    import duckdb

# functions that Spark has and DuckDB lacks, so that one SQL text serves both
MACROS = ("CREATE MACRO array_overlap(a, b) AS len(list_intersect(a, b)) / len(list_distinct(list_concat(a, b)))",)
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

SESSION_PAIRS = 200_000


class TrainingError(Exception):
    """No model can be fitted: nothing in the sample lets pairs be told apart."""


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
    return [" AND ".join(f"l.{c} = r.{c}" for c in columns) for columns in usable]


def trained(sample: pd.DataFrame, comparisons: list[Comparison], *, seed: int, max_pairs: float = 2e6) -> dict:
    """Splink's settings with fitted m and u, as a dict that JSON can hold.

    sample: prepared records, one row a record, in any order.  u: from random pairs (`seed`).  m: the median over
    sessions, each a blocking rule under which expectation maximisation runs. Raises TrainingError.
    """
    from splink import DuckDBAPI, Linker

    logging.getLogger("splink").setLevel(logging.ERROR)
    rows = sample.sort_values("subject_key", ignore_index=True)
    api = DuckDBAPI(connection=connection())
    linker = Linker(api.register(rows, table_name="records"), settings(comparisons), log_level=None)
    linker.training.estimate_u_using_random_sampling(
        max_pairs=max_pairs, seed=seed, min_count_per_level=None, num_chunks=1
    )
    for rule in sessions(comparisons):
        _session(linker, rule)
    return json.loads(json.dumps(linker.misc.save_model_to_json()))


def _session(linker, rule: str) -> None:
    """One run of expectation maximisation; one without pairs, or whose matches never differ, teaches nothing."""
    from splink.internals.exceptions import EMTrainingException

    before = linker._settings_obj.core_model_settings.copy()  # a session that fails half-way leaves its own behind
    try:
        linker.training.estimate_parameters_using_expectation_maximisation(
            rule, estimate_without_term_frequencies=True, max_pairs=SESSION_PAIRS
        )
    except (EMTrainingException, ValueError):
        linker._settings_obj.core_model_settings = before
        logging.getLogger(__name__).debug("no training by %s", rule)
