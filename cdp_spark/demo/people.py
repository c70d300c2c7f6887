"""Who are the retailer's customers? Households, people, accounts and devices, before any corruption."""

from __future__ import annotations

import unicodedata

import numpy as np
import pandas as pd

from cdp_spark.demo import difficulty as how
from cdp_spark.demo import names


def plain(name: str) -> str:
    """Lower-case ASCII letters of a name, as people write it in an e-mail address."""
    text = unicodedata.normalize("NFKD", name.translate(names.PLAIN)).encode("ascii", "ignore").decode().lower()
    return "".join(letter for letter in text if letter.isalpha())


def make(rng: np.random.Generator, n: int, days: int) -> pd.DataFrame:
    """One row per person, indexed 0..n-1; `joined` counts days from the first day of the history (may be negative)."""
    people = _households(rng, n)
    _names(rng, people)
    _addresses(rng, people)
    _sharing(rng, people)
    _joined(rng, people, days)
    _presence(rng, people)
    _identifiers(rng, people)
    return people


def _households(rng: np.random.Generator, n: int) -> pd.DataFrame:
    sizes = rng.choice(np.arange(1, 5), n, p=how.HOUSEHOLD_SIZES)
    household = np.repeat(np.arange(n), sizes)[:n]
    start = np.searchsorted(household, household)
    index = np.arange(n)
    return pd.DataFrame({
        "entity": [f"P{i:07d}" for i in index], "household": household, "member": index - start, "head": start,
        "size": np.bincount(household)[household],
    })  # fmt: skip


def _names(rng: np.random.Generator, people: pd.DataFrame) -> None:
    n = len(people)
    female = rng.random(n) < 0.52
    people["gender"] = np.where(female, "f", "m")
    people["first"] = np.where(female, rng.choice(names.FEMALE, n), rng.choice(names.MALE, n))
    last = rng.choice(names.LAST, n)
    people["last"] = np.where(rng.random(n) < 0.85, last[people["head"]], last)
    born = np.datetime64("1940-01-01") + rng.integers(0, 365 * 67, n).astype("timedelta64[D]")
    # members of a household never share a birth date: it is what keeps them apart
    born = born - ((born.astype(int) - people["member"].to_numpy()) % 5).astype("timedelta64[D]")
    people["birth"] = np.datetime_as_string(born, unit="D")


def address(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """street, city, postcode of n dwellings."""
    city = rng.integers(0, len(names.CITIES), n)
    letters = np.array(list("ABDEFGHJLNPQRSTUWXYZ"))
    parts = zip(rng.integers(1, 20, n), rng.integers(1, 10, n), rng.choice(letters, n), rng.choice(letters, n),
                strict=True)  # fmt: skip
    codes = [f"{names.CITIES[c][1]}{a} {b}{x}{y}" for c, (a, b, x, y) in zip(city, parts, strict=True)]
    streets = rng.choice(names.STREETS, n)
    numbers = rng.integers(1, 180, n)
    return pd.DataFrame({
        "street": [f"{street} {number}" for street, number in zip(streets, numbers, strict=True)],
        "city": [names.CITIES[c][0] for c in city], "postcode": codes,
    })  # fmt: skip


def _addresses(rng: np.random.Generator, people: pd.DataFrame) -> None:
    head = people["head"].to_numpy()
    home, before = address(rng, len(people)), address(rng, len(people))
    people["moved"] = rng.random(len(people)) < how.MOVED
    for column in home:
        people[column] = home[column].to_numpy()[head]
        people[f"old_{column}"] = np.where(people["moved"], before[column], people[column])


def _sharing(rng: np.random.Generator, people: pd.DataFrame) -> None:
    """owner: whose device the second member uses; mail_owner: whose address; landline: of the household, or ''."""
    index, head = people.index.to_numpy(), people["head"].to_numpy()
    many = np.unique(head[people["size"] > 1])
    households = people["household"].nunique()

    def pick(share: float) -> np.ndarray:
        return np.sort(rng.choice(many, min(len(many), max(1, round(share * households))), replace=False))

    for column, share in (("owner", how.SHARED_DEVICE), ("mail_owner", how.SHARED_EMAIL)):
        chosen = pick(share)
        people[column] = index
        people.loc[chosen + 1, column] = chosen
    lines = pick(how.SHARED_LANDLINE)
    numbers = [f"1904{600000 + i * 7 % 399999:06d}" for i in lines]
    people["landline"] = ""
    people.loc[lines, "landline"] = numbers
    people.loc[lines + 1, "landline"] = numbers
    uses = people["owner"].ne(index)
    people["shares_device"] = uses | np.isin(index, people.loc[uses, "owner"])
    borrowed = people["mail_owner"].ne(index)
    people["borrows_mail"] = borrowed
    people["lends_mail"] = np.isin(index, people.loc[borrowed, "mail_owner"])
    people["guarded"] = borrowed | people["lends_mail"] | people["landline"].ne("")


def _joined(rng: np.random.Generator, people: pd.DataFrame, days: int) -> None:
    n, last = len(people), how.HISTORY_DAYS - 1
    joined = np.where(rng.random(n) < how.JOINED_BEFORE, -rng.integers(1, 1500, n), rng.integers(0, last, n))
    free = np.flatnonzero(~(people["guarded"] | people["shares_device"]))
    fresh = rng.choice(free, min(len(free), max(2, n // 500) * max(days - 1, 0)), replace=False)
    joined[fresh] = last + 1 + np.arange(len(fresh)) % max(days - 1, 1)
    lender, borrower = people["lends_mail"].to_numpy(), people["borrows_mail"].to_numpy()
    joined[lender] = -rng.integers(1600, 2000, lender.sum())  # whoever lends an address has registered first
    joined[borrower] = np.maximum(joined[borrower], -1500)
    people["joined"] = joined


def _presence(rng: np.random.Generator, people: pd.DataFrame) -> None:
    n, shares = len(people), people["shares_device"]
    people["visitor"] = (rng.random(n) < how.VISITS_WEB) | shares
    visitors = np.flatnonzero(people["visitor"])
    candidates = np.flatnonzero(people["visitor"] & ~shares)
    never = rng.choice(candidates, round(how.NEVER_LOGS_IN * len(visitors)), replace=False)
    people["account"] = people["visitor"]
    people.loc[never, "account"] = False
    people["app"] = people["account"] & (rng.random(n) < how.HAS_APP)
    people["crm"] = (rng.random(n) < how.IN_CRM) | people["guarded"]
    people["loyal"] = rng.random(n) < how.HAS_CARD
    people["subscribed"] = rng.random(n) < how.SUBSCRIBED


def _identifiers(rng: np.random.Generator, people: pd.DataFrame) -> None:
    n, index = len(people), people.index
    stem = [f"{plain(a)}.{plain(b)}{i + 11}" for i, a, b in zip(index, people["first"], people["last"], strict=True)]
    domain = rng.choice(names.DOMAINS, n)
    own = np.array([f"{s}@{d}" for s, d in zip(stem, domain, strict=True)], dtype=object)
    people["email"] = own[people["mail_owner"]]
    other = rng.choice(names.DOMAINS, n)
    people["alt_email"] = [
        f"{plain(b)}_{i + 11}_{plain(a)[:1]}@{d}"
        for i, a, b, d in zip(index, people["first"], people["last"], other, strict=True)
    ]
    start = int(rng.integers(0, 50_000_000))
    people["mobile"] = [f"{7_400_000_000 + (start + i * 9973) % 50_000_000}" for i in range(n)]
    people["user_id"] = np.where(people["account"], [f"u{100_000 + i}" for i in index], "")
    people["card"] = np.where(people["loyal"], [f"{6_300_000_000 + i * 37 + 5}" for i in index], "")
    for column, letter in (("cookie", "a"), ("cookie2", "b"), ("device", "d")):
        text = rng.bytes(8 * n).hex()
        people[column] = [f"{letter}{i:x}-{text[16 * i : 16 * i + 12]}" for i in range(n)]
