"""How good is the identity graph? Pairwise and B-cubed measures against a truth, and the best that linking can reach.

All of it is exact and runs in pandas on the driver: linear in records (a million take seconds), never in pairs. Larger
truths are sampled by whole entities before they come here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from cdp_spark.shown import named

KEY = ["source", "record_id"]


class TruthError(ValueError):
    """Members or truth cannot be compared: a column is missing, a record occurs twice, an entity is unknown."""


class Contingency(NamedTuple):
    """One entry per pair of a cluster and an entity that share records: who, whom, how many."""

    cluster: np.ndarray
    entity: np.ndarray
    shared: np.ndarray
    cluster_size: np.ndarray
    entity_size: np.ndarray


def evaluate(members: pd.DataFrame, truth: pd.DataFrame) -> dict:
    """Measures of a partition, rounded to four places.

    members: source, record_id, person_id (one row a record: the current ones).  truth: source, record_id, entity_id;
    without `source` in either, record_id alone is the key. A truth record without a person counts as a person of its
    own; members outside the truth are ignored; both are counted. Raises TruthError.

    pairwise_*: over all pairs of records in one person or entity.  b3_*: B-cubed, the mean over records (Bagga and
    Baldwin 1998).  over_merged_share: records in persons that hold two entities or more.  split_share: records of
    entities that lie in two persons or more.  entities_in_largest_cluster: of several largest persons, the one that the
    truth's rows name first; the only figure that depends on their order.
    """
    key = KEY if "source" in members and "source" in truth else KEY[1:]
    right, left = _keyed(truth, key, "entity_id", "truth"), _keyed(members, key, "person_id", "members")
    if right["entity_id"].isna().any():
        raise TruthError("truth: entity_id is null in some rows")
    joined = right.merge(left, on=key, how="left")
    lost = int(joined["person_id"].isna().sum())
    table = contingency(joined["person_id"], joined["entity_id"])
    counts = {
        "records": len(joined),
        "records_without_cluster": lost,
        "members_not_in_truth": len(left) - (len(joined) - lost),
    }
    return counts | _measures(table, len(joined))


def of_sources(truth: pd.DataFrame, members: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The rows of `truth` whose source has members, and how many others there are; all rows where it has no source.

    A truth may tell of more sources than a deployment reads. Raises TruthError where it has none of them.
    """
    if "source" not in truth:
        return truth, 0
    known, told = set(members["source"].astype(str)), truth["source"].astype(str)
    here = told.isin(known)
    if known and len(truth) and not here.any():
        few = ", ".join(sorted(set(told))[:10])
        raise TruthError(
            f"truth: its sources are {few}; the lake has {', '.join(sorted(known))}: make their names agree"
        )
    return truth[here], int((~here).sum())


def _keyed(frame: pd.DataFrame, key: list[str], label: str, name: str) -> pd.DataFrame:
    if missing := [column for column in (*key, label) if column not in frame]:
        raise TruthError(f"{name}: no column {', '.join(missing)}; it has {named(frame.columns)}")
    rows = frame[[*key, label]].astype(dict.fromkeys(key, str))
    if rows.duplicated(key).any():
        raise TruthError(f"{name}: a record occurs more than once by {', '.join(key)}")
    return rows


def contingency(persons: pd.Series, entities: pd.Series) -> Contingency:
    """Overlaps of two labellings of the same rows; each row without a person is a person of its own."""
    cluster = pd.factorize(persons)[0].astype(np.int64)
    entity = pd.factorize(entities)[0].astype(np.int64)
    alone = cluster < 0
    cluster[alone] = cluster.max(initial=-1) + 1 + np.arange(alone.sum())
    width = entity.max(initial=0) + 1
    cells, shared = np.unique(cluster * width + entity, return_counts=True)
    return Contingency(*np.divmod(cells, width), shared.astype(np.int64), np.bincount(cluster), np.bincount(entity))


def _pairs(sizes: np.ndarray) -> int:
    sizes = sizes.astype(np.int64)
    return int((sizes * (sizes - 1) // 2).sum())


def _ratio(part: float, whole: float) -> float:
    """Without a single pair nothing is wrong: 1."""
    return part / whole if whole else 1.0


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _measures(table: Contingency, records: int) -> dict:
    if not records:
        raise TruthError("truth: there are no records to compare with")
    right, said, true = _pairs(table.shared), _pairs(table.cluster_size), _pairs(table.entity_size)
    square = table.shared.astype(float) ** 2
    scores = {
        "pairwise": (_ratio(right, said), _ratio(right, true)),
        "b3": tuple(
            float((square / sizes).sum() / records)
            for sizes in (table.cluster_size[table.cluster], table.entity_size[table.entity])
        ),
    }
    inside, across = np.bincount(table.cluster), np.bincount(table.entity)
    biggest = int(table.cluster_size.argmax())
    found = {"clusters": len(table.cluster_size), "entities": len(table.entity_size)}
    for name, (precision, recall) in scores.items():
        found |= {f"{name}_p": precision, f"{name}_r": recall, f"{name}_f1": _f1(precision, recall)}
    found["over_merged_share"] = table.cluster_size[inside >= 2].sum() / records
    found["split_share"] = table.entity_size[across >= 2].sum() / records
    found |= {"largest_cluster": int(table.cluster_size[biggest]), "largest_true_cluster": int(table.entity_size.max())}
    found |= {"entities_in_largest_cluster": int(inside[biggest])}
    found |= {"true_pairs": true, "predicted_pairs": said, "true_positive_pairs": right}
    return {name: value if isinstance(value, int) else round(float(value), 4) for name, value in found.items()}


def ceiling(identifiers: pd.DataFrame, truth: pd.DataFrame) -> float:
    """Pairwise F1 of the best that exact linking can do: no false link, and no true one that the data does not hold.

    identifiers: source, record_id, namespace, value, of the namespaces that may link.  truth: source, record_id,
    entity_id. Records of one entity hang together where a chain of identical values leads from one to the other, over
    records of that entity only.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    records = _keyed(truth, KEY, "entity_id", "truth").reset_index(drop=True)
    links = identifiers.astype(dict.fromkeys(KEY, str)).merge(records.reset_index(names="row"), on=KEY)
    # the entity is part of the value's node, so that a value shared by two entities ties neither to the other
    value = links.groupby(["entity_id", "namespace", "value"], sort=False).ngroup().to_numpy(np.int64)
    size = len(records) + len(links)
    ends = (links["row"].to_numpy(np.int64), len(records) + value)
    graph = coo_matrix((np.ones(len(links), np.int8), ends), shape=(size, size))
    parts = connected_components(graph, directed=False)[1][: len(records)]
    return evaluate(records.assign(person_id=parts), truth)["pairwise_f1"]


def read_labels(path: str) -> pd.DataFrame:
    """A CSV (.csv, .csv.gz) or Parquet file with every column as text, so that 007 stays 007. Raises TruthError."""
    try:
        if str(path).endswith((".csv", ".csv.gz")):
            return pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
        return pd.read_parquet(path).astype("string").astype(object)
    except FileNotFoundError:
        raise TruthError(f"{path}: no such file; expected CSV or Parquet with source, record_id, entity_id") from None
    except (ValueError, OSError) as error:  # the words of pandas and Arrow may hold a row: they are not shown
        wanted = "a UTF-8 CSV with a header (.csv, .csv.gz) or a Parquet file"
        raise TruthError(f"{path}: cannot be read ({type(error).__name__}); expected {wanted}") from None
