"""What do the systems that send events write? Rows with their identifiers, and their JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pandas as pd

from cdp_spark.demo import behaviour, names
from cdp_spark.demo import difficulty as how
from cdp_spark.demo.behaviour import World

SPEND_FIELDS = ["week", "channel", "geo", "spend", "currency", "impressions", "clicks"]
SPEND = (("search", 2400.0, 0.9), ("social", 1500.0, 0.5), ("display", 900.0, 0.2), ("affiliate", 600.0, 0.8))


def bots(world: World) -> dict[str, str]:
    """Cookie -> entity of each bot."""
    count = max(2, len(world.people) * how.BOTS_PER_1000 // 1000)
    return {f"z{i:x}-crawl": f"B{i:05d}" for i in range(count)}


def seen(world: World, placed: pd.DataFrame, kind: str) -> pd.DataFrame:
    """One row per web or app event: person (-1: a bot), key, user_id ('' where not logged in), stamp, kind, ..."""
    visits = behaviour.sessions(world, placed, kind)
    rows = behaviour.events(world, visits)
    user = world.people["user_id"].to_numpy()[rows["person"]]
    rows["user_id"] = np.where(rows["login"], user, "")
    rows["mail"] = np.where(rows["kind"] == "newsletter", world.people["email"].to_numpy()[rows["person"]], "")
    if kind == "web":
        rows = pd.concat([rows, _crawled(world)], ignore_index=True)
    rows = rows.sort_values(["day", "second", "key"], ignore_index=True, kind="stable")
    rows["id"] = [f"{kind[0]}{i:08d}" for i in range(len(rows))]
    rows["stamp"] = _stamps(world, rows)
    rows["source"] = world.rng.integers(0, 3 * len(names.CAMPAIGNS), len(rows))
    return rows


def _crawled(world: World) -> pd.DataFrame:
    rng, cookies = world.rng, np.array(list(bots(world)), dtype=object)
    n = 60 * len(cookies)
    product = rng.integers(0, len(world.prices), n)
    return pd.DataFrame({
        "person": -1, "day": rng.integers(0, world.last + 1, n), "second": rng.integers(0, 86400, n),
        "key": rng.choice(cookies, n), "user_id": "", "mail": "", "kind": "page_view", "product": product,
        "category": product // names.PRODUCTS_EACH, "price": world.prices[product],
    })  # fmt: skip


def _stamps(world: World, rows: pd.DataFrame) -> np.ndarray:
    moment = world.moment(rows["day"], rows["second"])
    return np.char.add(np.datetime_as_string(moment, unit="s"), "Z").astype(object)


def event_lines(key: str) -> Callable[[pd.DataFrame], list[str]]:
    """A renderer of web (key anonymous_id) or app (device_id) events."""
    columns = ["id", "kind", "stamp", "key", "user_id", "person", "product", "category", "price", "mail", "source",
               "received"]  # fmt: skip

    def render(rows: pd.DataFrame) -> list[str]:
        return [json.dumps(_event(key, *values)) for values in zip(*(rows[c].tolist() for c in columns), strict=True)]

    return render


def _event(key, number, kind, stamp, value, user, person, product, category, price, mail, source, received) -> dict:
    word = names.CATEGORIES[category]
    agents = names.BOT_AGENTS if person < 0 else names.AGENTS if key == "anonymous_id" else names.APP_AGENTS
    context = {"page": {"url": f"/{word}/p{product:04d}", "category": word}, "user_agent": agents[person % len(agents)],
               "ip": f"192.0.2.{person % 254 + 1}"}  # fmt: skip
    if source < len(names.CAMPAIGNS) and person >= 0:
        context["campaign"] = dict(zip(("source", "medium", "name"), names.CAMPAIGNS[source], strict=True))
    row = {"event_id": number, "type": kind, "ts": stamp, "received_at": received, key: value}
    row |= {"user_id": user} if user else {}
    goods = {"product_id": f"p{product:04d}", "category": word, "price": price}
    if kind in ("login", "signup", "search"):
        goods = {}
    if kind == "newsletter":
        goods = {"email": mail}
    return row | {"context": context, "properties": goods}


def _plain(columns: dict[str, str]) -> Callable[[pd.DataFrame], list[str]]:
    """A renderer of flat rows: JSON field -> column; empty text is left out."""

    def render(rows: pd.DataFrame) -> list[str]:
        values = zip(*(rows[column].tolist() for column in columns.values()), strict=True)
        found = (dict(zip(columns, row, strict=True)) for row in values)
        return [json.dumps({k: v for k, v in row.items() if v not in ("", None)}, ensure_ascii=False) for row in found]

    return render


mail_lines = _plain({"id": "id", "kind": "kind", "email": "email", "campaign": "campaign", "ts": "stamp"})
ticket_lines = _plain({"ticket_id": "id", "email": "email", "phone": "written", "opened_at": "stamp", "topic": "topic",
                       "channel": "channel", "text": "text", "satisfaction": "satisfaction"})  # fmt: skip
consent_lines = _plain(
    {
        "id": "id",
        "identifier_type": "type",
        "identifier": "identifier",
        "purpose": "purpose",
        "channel": "channel",
        "status": "status",
        "ts": "stamp",
        "text_version": "version",
    }
)


def mail_rows(world: World, rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with id, email and stamp."""
    email = world.people["email"].to_numpy()[rows["person"]]
    ids = [f"m{i:08d}" for i in range(len(rows))]
    return rows.assign(id=ids, email=email, stamp=_stamps(world, rows))


def ticket_rows(world: World, rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with what the customer wrote; whoever borrows an address gives the telephone number alone."""
    rng, who, n = world.rng, rows["person"].to_numpy(), len(rows)
    people = world.people
    mail = np.where(
        (rng.random(n) < 0.85) & ~people["borrows_mail"].to_numpy()[who], people["email"].to_numpy()[who], ""
    )
    phone = np.where((mail == "") | (rng.random(n) < 0.4), people["mobile"].to_numpy()[who], "")
    angry, pick = rows["angry"].to_numpy(dtype=bool), rng.integers(0, 1000, n)
    texts = _words(angry, pick, names.BAD_TICKETS, names.GOOD_TICKETS)
    topics = _words(angry, pick, names.TOPICS_BAD, names.TOPICS_GOOD)
    score = np.where(angry, rng.integers(1, 3, n), rng.integers(3, 6, n)).astype(object)
    score[rng.random(n) < 0.3] = None
    return rows.assign(
        id=[f"t{i:06d}" for i in range(n)], email=mail, phone=phone, written=_national(phone), text=texts,
        topic=topics, channel=rng.choice(["email", "phone", "chat"], n), satisfaction=score, stamp=_stamps(world, rows),
    )  # fmt: skip


def _words(angry: np.ndarray, pick: np.ndarray, bad: tuple[str, ...], good: tuple[str, ...]) -> list[str]:
    lists = (bad if cross else good for cross in angry)
    return [words[at % len(words)] for words, at in zip(lists, pick, strict=True)]


def _national(phone: np.ndarray) -> np.ndarray:
    return np.array([f"0{number[:4]} {number[4:]}" if number else "" for number in phone], dtype=object)


def consent_rows(world: World, rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with the one identifier a choice was made under: always the same for a person and purpose."""
    people, who = world.people, rows["person"].to_numpy()
    turn = (who * 7 + rows["purpose"].str.len().to_numpy()) % 20
    kind = np.where((turn < 5) & people["account"].to_numpy()[who], "user_id", np.where(turn > 16, "phone", "email"))
    kind = np.where((kind == "email") & people["borrows_mail"].to_numpy()[who], "phone", kind)
    get = {name: people[column].to_numpy()[who] for name, column in
           (("user_id", "user_id"), ("email", "email"), ("phone", "mobile"))}  # fmt: skip
    rows = rows.assign(id=[f"k{i:07d}" for i in range(len(rows))], type=kind, stamp=_stamps(world, rows))
    for name, values in get.items():
        rows[name] = np.where(kind == name, values, "")
    number = np.where(rows["phone"] != "", "+44" + rows["phone"].astype(str), "")
    rows["identifier"] = rows["user_id"].astype(str) + rows["email"].astype(str) + number
    rows["channel"] = np.where(rows["purpose"] == "marketing_email", "email", "any")
    rows["version"] = np.where(rows["day"] < 300, "2024-06", "2025-06")
    return rows


def spend(world: World) -> pd.DataFrame:
    """One row per week and channel; `arrival` is the drop that brings it: networks close their books on Saturday."""
    rng, rows = world.rng, []
    monday = world.first - timedelta(world.first.weekday())
    while (number := (monday + timedelta(5) - world.first).days) <= world.last:
        season = world.season[max(0, (monday - world.first).days)]
        for channel, base, price in SPEND:
            cost = round(base * season * float(rng.lognormal(0, 0.2)), 2)
            clicks = int(cost / price * rng.uniform(0.8, 1.2))
            rows.append((monday.isoformat(), channel, "GB", cost, "GBP", clicks * int(rng.integers(20, 80)), clicks,
                         max(number, how.HISTORY_DAYS - 1), rng.random() < how.MALFORMED))  # fmt: skip
        monday += timedelta(7)
    return pd.DataFrame(rows, columns=[*SPEND_FIELDS, "arrival", "bad"])
