"""The generated retailer: people first, then what their systems saw of them, then the truth beside it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from cdp_spark.demo import behaviour, corrupt, feeds, records, truth
from cdp_spark.demo import difficulty as how
from cdp_spark.demo import people as population
from cdp_spark.demo.drops import Landing


def generate(out: Path, people: int, days: int, seed: int, start: date = how.START) -> dict[str, dict[str, int]]:
    """Writes out/drops/<source>/<date>/ and out/truth/; rows a source and day. The same seed gives the same bytes.

    Raises ValueError below 50 people or without a day: there would be no household to share anything.
    """
    if people < 50 or days < 1:
        raise ValueError("the generated retailer needs at least 50 people and 1 day")
    rng, out = np.random.default_rng(seed), Path(out)
    world = behaviour.World(rng, population.make(rng, people, days), start, days)
    landing = Landing(world, out)
    placed = behaviour.orders(world)
    lines = behaviour.lines(world, placed)
    known = truth.owners(world, feeds.bots(world))
    found = _rows(world, landing, placed, lines, known)
    found += _lists(world, landing, lines)
    truth.write(out, found, truth.future(world, lines))
    return landing.counts


def _rows(world, landing: Landing, placed: pd.DataFrame, lines: pd.DataFrame, known: dict) -> list[pd.DataFrame]:
    """Writes the sources that bring events; their truth, one frame a source."""
    found = []
    for source, key in (("web", "anonymous_id"), ("app", "device_id")):
        seen = feeds.seen(world, placed, source)
        seen = landing.with_arrival(seen, seen["kind"].isin(["login", "signup"]).to_numpy())
        landing.json(source, "events.jsonl", seen, feeds.event_lines(key))
        good = seen[~seen["bad"]]
        found.append(truth.subjects(source, {"user_id": good["user_id"], key: good["key"]}, known))
    e164 = {"email": lambda rows: rows["email"], "phone": lambda rows: rows["phone"].map(lambda n: n and f"+44{n}")}
    sold = landing.with_arrival(lines)
    good = sold[~sold["bad"]]
    values = {"user_id": good["user_id"], "loyalty_card": good["loyalty_card"]}
    found.append(truth.subjects("orders", values | {name: get(good) for name, get in e164.items()}, known))
    sold["phone"] = corrupt.phones(world.rng, sold["phone"].to_numpy())
    landing.parquet("orders", "orders.parquet", sold)
    mail = behaviour.mails(world)
    for source, file, rows, render in (
        ("email", "events.jsonl", feeds.mail_rows(world, mail), feeds.mail_lines),
        ("support", "tickets.jsonl", feeds.ticket_rows(world, behaviour.tickets(world, placed)), feeds.ticket_lines),
        ("consents", "consents.jsonl", feeds.consent_rows(world, behaviour.choices(world, mail)), feeds.consent_lines),
    ):
        rows = landing.with_arrival(rows)
        landing.json(source, file, rows, render)
        good = rows[~rows["bad"]]
        names = [name for name in ("user_id", "email", "phone") if name in good]
        values = {name: e164[name](good) if name in e164 else good[name] for name in names}
        found.append(truth.subjects(source, values, known))
    return found


def _lists(world, landing: Landing, lines: pd.DataFrame) -> list[pd.DataFrame]:
    """Writes the sources that bring whole lists every day; their truth."""
    taken = set(world.people["email"]) | set(world.people["alt_email"])
    crm, cards, bought = records.crm(world, taken), records.loyalty(world, taken), records.enrichment(world)
    spend = feeds.spend(world)
    everything = crm[crm["created"] <= world.last]
    for day, text in landing.days():
        crm = crm if day == how.HISTORY_DAYS - 1 else records.change(world, crm, day)
        here = crm[crm["created"] <= day].reset_index(drop=True)
        landing.csv("crm", "crm.csv", text, here, records.CRM_FIELDS, 13, ";", "iso-8859-1")
        held = records.with_points(world, cards[cards["created"] <= day].reset_index(drop=True), lines, day)
        landing.csv("loyalty", "loyalty.csv", text, held, records.LOYALTY_FIELDS, 10)
        landing.csv("enrichment", "enrichment.csv", text, bought, records.ENRICHMENT_FIELDS, 3)
        landing.csv("adspend", "adspend.csv", text, spend[spend["arrival"] == day], feeds.SPEND_FIELDS, 3)
    entity = world.people["entity"]
    return [
        truth.records("crm", everything, "CUSTOMER_NO", entity),
        truth.records("loyalty", cards[cards["created"] <= world.last], "card_no", entity),
        truth.records("enrichment", bought, "email", entity),
    ]
