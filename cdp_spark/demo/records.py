"""What do the systems that keep lists hold? CRM, loyalty and enrichment records, with typos, duplicates and changes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cdp_spark.demo import corrupt, people
from cdp_spark.demo import difficulty as how
from cdp_spark.demo import names as words
from cdp_spark.demo.behaviour import World

LAST = how.HISTORY_DAYS - 1  # the day of the first drop
ADDRESS = ("street", "city", "postcode")
CRM_FIELDS = [
    "CUSTOMER_NO", "FIRST_NAME", "LAST_NAME", "BIRTH_DATE", "GENDER", "EMAIL", "PHONE", "STREET", "CITY", "POSTCODE",
    "COUNTRY", "WEB_USER_ID", "CREATED_AT", "UPDATED_AT",
]  # fmt: skip
LOYALTY_FIELDS = [
    "card_no", "first_name", "last_name", "birth_date", "email", "phone", "postcode", "tier", "points", "joined_on",
    "updated_at",
]  # fmt: skip
ENRICHMENT_FIELDS = ["email", "phone", "income_band", "household_size", "interests"]


def stamps(world: World, day: pd.Series, person: pd.Series) -> np.ndarray:
    """ISO time stamps in UTC at some second of office hours, fixed for each person."""
    moment = world.moment(day, 9 * 3600 + person.to_numpy() * 37 % (8 * 3600))
    return np.char.add(np.datetime_as_string(moment, unit="s"), "Z").astype(object)


def _bad(rng: np.random.Generator, rows: pd.DataFrame) -> np.ndarray:
    """The same rows are malformed on every day."""
    return rng.random(len(rows)) < how.MALFORMED


def crm(world: World, taken: set[str]) -> pd.DataFrame:
    """One row per CRM record, as on its first day. kind: '' (first record), mail, phone (what ties it), alone."""
    rng = world.rng
    first = world.people[world.people["crm"]].reset_index(names="person")
    known = first[first["joined"] < LAST - 20]
    count = min(len(known), round(how.DUPLICATE_CRM * len(first)))
    second = known.loc[np.sort(rng.choice(known.index, count, replace=False))]
    rows = pd.concat([first.assign(kind=""), second.assign(kind=rng.choice(["mail", "phone", "alone"], count,
                      p=[0.45, 0.35, 0.2]))], ignore_index=True)  # fmt: skip
    twin = (rows["kind"] != "").to_numpy()
    n = len(rows)
    rows["CUSTOMER_NO"] = np.where(twin, [f"C{800_000 + p}" for p in rows["person"]],
                                   [f"C{100_000 + p}" for p in rows["person"]])  # fmt: skip
    for column in ADDRESS:
        rows[column.upper()] = np.where(twin, rows[f"old_{column}"], rows[column])
    rows["COUNTRY"] = "GB"
    rows["FIRST_NAME"] = corrupt.names(rng, rows["first"], how.NAME_TYPO / 2)
    rows["LAST_NAME"] = corrupt.names(rng, rows["last"], how.NAME_TYPO / 2)
    filled = rng.random(n) < how.CRM_BIRTH_DATE
    rows["BIRTH_DATE"] = np.where(filled, rows["birth"], "")
    rows["GENDER"] = np.where(rng.random(n) < 0.9, rows["gender"], "")
    _reachable(rng, rows, taken)
    share = np.where(twin, how.CRM_USER_ID_DUPLICATE, how.CRM_USER_ID)
    keep = rng.random(n) < share
    rows["WEB_USER_ID"] = np.where(keep & (rows["kind"] != "alone"), rows["user_id"], "")
    _dates(rng, world, rows, twin)
    rows["bad"] = _bad(rng, rows)
    return rows.sort_values("CUSTOMER_NO", ignore_index=True)


def _reachable(rng: np.random.Generator, rows: pd.DataFrame, taken: set[str]) -> None:
    """EMAIL and PHONE of each record, by its kind."""
    kind, n = rows["kind"], len(rows)
    mail = np.where(kind.isin(["phone", "alone"]), rows["alt_email"], rows["email"])
    mail = np.where((rng.random(n) < 0.95) | rows["lends_mail"] | rows["borrows_mail"] | (kind == "mail"), mail, "")
    typed = corrupt.emails(rng, pd.Series(mail), how.EMAIL_TYPO, taken)
    # the lender's first record carries the address as it is: it shows who registered first
    rows["clean"] = (typed == mail) | (rows["lends_mail"] & (kind == ""))
    rows["EMAIL"] = corrupt.loud(rng, np.where(rows["clean"], mail, typed), 0.12)
    phone = np.where(rng.random(n) < 0.85, rows["mobile"], "")
    phone = np.where((rows["landline"] != "") & (kind == ""), rows["landline"], phone)
    phone = np.where(kind.eq("phone"), rows["mobile"], np.where(kind.eq("alone"), "", phone))
    rows["PHONE"] = corrupt.phones(rng, phone)


def _dates(rng: np.random.Generator, world: World, rows: pd.DataFrame, twin: np.ndarray) -> None:
    n, joined = len(rows), rows["joined"].to_numpy()
    rows["created"] = np.where(twin, np.minimum(joined + rng.integers(10, 400, n), LAST - 5), joined)
    touched = (rng.random(n) < 0.5) & ~(rows["lends_mail"] & ~twin)
    later = np.maximum(rows["created"], np.minimum(rows["created"] + rng.integers(1, 500, n), LAST))
    rows["updated"] = np.where(touched, later, rows["created"])
    rows["CREATED_AT"] = stamps(world, rows["created"], rows["person"])
    rows["UPDATED_AT"] = stamps(world, rows["updated"], rows["person"])


def change(world: World, rows: pd.DataFrame, day: int) -> pd.DataFrame:
    """The CRM a day later: some moved, some are deleted, some lone duplicates gain the address that ties them."""
    rng, rows = world.rng, rows.copy()
    there = (rows["created"] < day) & ~rows["bad"]

    def pick(mask: pd.Series, share: float) -> np.ndarray:
        found = rows.index[mask]
        return rng.choice(found, min(len(found), max(1, round(share * len(found)))), replace=False)

    moves, tied = pick(there & (rows["kind"] == ""), 0.004), pick(there & (rows["kind"] == "alone"), 0.15)
    home = people.address(rng, len(moves))
    for column in ADDRESS:
        rows.loc[moves, column.upper()] = home[column].to_numpy()
    rows.loc[tied, "EMAIL"] = rows.loc[tied, "email"]
    rows.loc[tied, "kind"] = "mail"
    touched = np.union1d(moves, tied)
    rows.loc[touched, "UPDATED_AT"] = stamps(world, rows.loc[touched, "created"] * 0 + day, rows.loc[touched, "person"])
    leaves = pick(there & ~rows.index.isin(touched), 0.002)
    return rows.drop(index=leaves)


def loyalty(world: World, taken: set[str]) -> pd.DataFrame:
    """One row per loyalty card; points and tier follow the orders of the day (see `with_points`)."""
    rng = world.rng
    rows = world.people[world.people["loyal"]].reset_index(names="person")
    n = len(rows)
    rows["card_no"], rows["created"] = rows["card"], rows["joined"]
    rows["first_name"] = corrupt.names(rng, rows["first"], how.NAME_TYPO / 2)
    rows["last_name"] = corrupt.names(rng, rows["last"], how.NAME_TYPO / 2)
    filled = rng.random(n) < how.LOYALTY_BIRTH_DATE
    rows["birth_date"] = np.where(filled, rows["birth"], "")
    mail = np.where((rng.random(n) < 0.88) & ~rows["borrows_mail"], rows["email"], "")
    rows["email"] = corrupt.loud(rng, corrupt.emails(rng, pd.Series(mail), how.EMAIL_TYPO, taken), 0.05)
    rows["phone"] = corrupt.phones(rng, np.where(rng.random(n) < 0.7, rows["mobile"], ""))
    rows["postcode"] = np.where(rows["moved"], rows["old_postcode"], rows["postcode"])
    rows["joined_on"] = np.datetime_as_string(world.moment(rows["joined"], 0), unit="D")
    rows["bad"] = _bad(rng, rows)
    return rows.sort_values("card_no", ignore_index=True)


def with_points(world: World, rows: pd.DataFrame, lines: pd.DataFrame, day: int) -> pd.DataFrame:
    """`rows` with points, tier and updated_at after all orders up to `day`."""
    seen = lines[(lines["day"] <= day) & (lines["status"] != "cancelled") & (lines["loyalty_card"] != "")]
    of = seen.groupby("loyalty_card").agg(points=("amount", "sum"), last=("day", "max"))
    points = of["points"].reindex(rows["card_no"]).fillna(0).clip(lower=0).round().astype(int).to_numpy()
    last = of["last"].reindex(rows["card_no"]).to_numpy()
    updated = pd.Series(np.fmax(last, rows["created"].to_numpy())).astype(int)
    tier = np.select([points >= 400, points >= 120], ["gold", "silver"], "basic")
    moment = world.moment(updated, 23 * 3600)  # the night run adds the points
    stamp = np.char.add(np.datetime_as_string(moment, unit="s"), "Z").astype(object)
    return rows.assign(points=points, tier=tier, updated_at=stamp)


def enrichment(world: World) -> pd.DataFrame:
    """One row per bought address: what an outside list says about it."""
    rng = world.rng
    listed = (rng.random(len(world.people)) < how.ENRICHED) & ~world.people["borrows_mail"]
    rows = world.people[listed].reset_index(names="person")
    n = len(rows)
    rows["created"], rows["income_band"] = LAST, rng.choice(words.INCOME, n)
    rows["phone"] = corrupt.phones(rng, np.where(rng.random(n) < 0.6, rows["mobile"], ""))
    rows["household_size"] = rows["size"].astype(str)
    rows["interests"] = [f"{a}|{b}" for a, b in zip(rng.choice(words.INTERESTS, n), rng.choice(words.INTERESTS, n),
                                                    strict=True)]  # fmt: skip
    rows["bad"] = _bad(rng, rows)
    return rows
