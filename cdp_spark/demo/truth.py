"""Who is who, and what will happen? Written apart from the drops and read by nothing but evaluation."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd

from cdp_spark.demo import difficulty as how
from cdp_spark.demo.behaviour import World


def owners(world: World, bots: dict[str, str]) -> dict[str, dict[str, str]]:
    """namespace -> normalised value -> entity. What is shared belongs to its owner, or who registered it first."""
    people = world.people
    first = people[~people["borrows_mail"]]
    entity = people["entity"]
    cookies = dict(zip(people["cookie"], entity, strict=True)) | dict(zip(people["cookie2"], entity, strict=True))
    return {
        "user_id": dict(zip(people["user_id"], entity, strict=True)),
        "loyalty_card": dict(zip(people["card"], entity, strict=True)),
        "email": dict(zip(first["email"], first["entity"], strict=True))
        | dict(zip(people["alt_email"], entity, strict=True)),
        "phone": {f"+44{number}": who for number, who in zip(people["mobile"], entity, strict=True)},
        "anonymous_id": cookies | bots,
        "device_id": dict(zip(people["device"], entity, strict=True)),
    }


def subjects(source: str, values: dict[str, pd.Series], known: dict[str, dict[str, str]]) -> pd.DataFrame:
    """One row per identifier value in the rows of `source`: source, record_id ('namespace:value'), entity_id."""
    parts = []
    for namespace, column in values.items():
        found = pd.Series(sorted(set(column) - {""}), dtype=object)
        parts.append(pd.DataFrame({"record_id": namespace + ":" + found, "entity_id": found.map(known[namespace])}))
    rows = pd.concat(parts, ignore_index=True)
    rows.insert(0, "source", source)
    return rows


def records(source: str, rows: pd.DataFrame, key: str, entity: pd.Series) -> pd.DataFrame:
    """One row per record of a list that ever landed in good order."""
    good = rows[~rows["bad"]].drop_duplicates(key)
    return pd.DataFrame({"source": source, "record_id": good[key], "entity_id": good["person"].map(entity)})


def future(world: World, lines: pd.DataFrame) -> pd.DataFrame:
    """entity_id, as_of, orders_30d, orders_90d, spend_90d: a row a known person for the midnight after each drop.

    Orders placed and paid from as_of on; spend before refunds.
    """
    paid, parts = lines[lines["status"] == "paid"], []
    for day in range(how.HISTORY_DAYS - 1, world.last + 1):
        after = paid[(paid["day"] > day) & (paid["day"] <= day + 90)]
        soon = after[after["day"] <= day + 30]
        known = world.people[world.people["joined"] <= day]
        rows = pd.DataFrame({"entity_id": known["entity"], "as_of": world.first + timedelta(day + 1)})
        for name, of in (("orders_30d", soon), ("orders_90d", after)):
            rows[name] = of.groupby("person")["order_id"].nunique().reindex(known.index).fillna(0).astype(int)
        rows["spend_90d"] = after.groupby("person")["amount"].sum().reindex(known.index).fillna(0).round(2)
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def write(out: Path, people: list[pd.DataFrame], coming: pd.DataFrame) -> None:
    """truth/people.csv and truth/future.csv below `out`."""
    folder = out / "truth"
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(people, ignore_index=True).to_csv(folder / "people.csv", index=False)
    coming.to_csv(folder / "future.csv", index=False)
