"""What do people do, day by day? Latent rates, moods and lives, and the orders, visits and mails they cause."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd

from cdp_spark.demo import difficulty as how
from cdp_spark.demo import names

BLOCK = 30  # days a mood lasts
CHUNK = 4000  # people drawn at once: bounds the memory


class World:
    """People with their hidden traits; draws who does something on which day. Day 0 is the first of the history."""

    def __init__(self, rng: np.random.Generator, people: pd.DataFrame, start: date, days: int):
        n = len(people)
        self.rng, self.people = rng, people
        self.first = start - timedelta(how.HISTORY_DAYS - 1)
        self.last = how.HISTORY_DAYS + days - 2  # of the drops
        self.horizon = self.last + 1 + how.FUTURE_DAYS
        self.joined = people["joined"].to_numpy()
        self.rate = rng.gamma(how.RATE_SHAPE, how.RATE_PER_DAY / how.RATE_SHAPE, n)
        self.death = np.maximum(self.joined, 0) + rng.exponential(how.LIFE_DAYS, n)
        self.mood = self._moods(n)
        calendar = [self.first + timedelta(i) for i in range(self.horizon)]
        self.season = np.array([how.MONTH_FACTOR[d.month - 1] * how.WEEKDAY_FACTOR[d.weekday()] for d in calendar])
        self.taste = rng.integers(0, len(names.CATEGORIES), n)
        self.prices = np.round(rng.lognormal(2.9, 0.6, len(names.CATEGORIES) * names.PRODUCTS_EACH), 2)

    def _moods(self, n: int) -> np.ndarray:
        blocks = self.horizon // BLOCK + 1
        state, moods = self.rng.normal(size=n), np.empty((n, blocks), dtype=np.float32)
        for block in range(blocks):
            moods[:, block] = np.exp(how.MOOD_SPREAD * state - how.MOOD_SPREAD**2 / 2)
            fresh = np.sqrt(1 - how.MOOD_MEMORY**2)
            state = how.MOOD_MEMORY * state + fresh * self.rng.normal(size=n)
        return moods

    def alive(self, person: np.ndarray, day: np.ndarray) -> np.ndarray:
        return day < self.death[person]

    def mood_at(self, person: np.ndarray, day: np.ndarray) -> np.ndarray:
        return self.mood[person, day // BLOCK]

    def draw(self, rate: np.ndarray, after_death: float = 0.0, power: float = 1.0) -> pd.DataFrame:
        """person, day of everything that happens at `rate` a day, moved by season and mood; at most once a day."""
        days, block, found = np.arange(self.horizon), np.arange(self.horizon) // BLOCK, []
        for low in range(0, len(rate), CHUNK):
            part = slice(low, low + CHUNK)
            grid = (self.mood[part] ** power)[:, block] * self.season[None, :] * rate[part, None]
            grid *= np.where(days[None, :] < self.death[part, None], 1.0, after_death)
            grid *= days[None, :] >= np.maximum(self.joined[part, None], 0)
            person, day = np.nonzero(self.rng.random(grid.shape) < 1 - np.exp(-grid))
            found.append(pd.DataFrame({"person": person + low, "day": day}))
        rows = pd.concat(found, ignore_index=True)
        rows["second"] = self.rng.integers(8 * 3600, 21 * 3600, len(rows))
        return rows

    def moment(self, day, second) -> np.ndarray:
        """UTC time of a second of a day, as numpy datetime64[s]."""
        return np.datetime64(self.first, "s") + np.asarray(day) * 86400 + np.asarray(second)


def orders(world: World) -> pd.DataFrame:
    """One row per order: person, day, second, order number, channel (web, app, store), logged_in."""
    rng, people = world.rng, world.people
    rows = world.draw(world.rate).sort_values(["day", "second", "person"], ignore_index=True)
    who, n = rows["person"].to_numpy(), len(rows)
    card, visitor, app = (people[c].to_numpy()[who] for c in ("loyal", "visitor", "app"))
    store = (rng.random(n) < np.where(card, 0.45, 0.05)) | ~visitor
    rows["channel"] = np.where(store, "store", np.where(app & (rng.random(n) < 0.4), "app", "web"))
    signed = people["account"].to_numpy()[who] & (rng.random(n) < 0.85)
    rows["logged_in"] = ~store & (signed | (rows["channel"] == "app"))
    rows["order_id"] = [f"o{1_000_000 + i}" for i in range(n)]
    return rows


def lines(world: World, placed: pd.DataFrame) -> pd.DataFrame:
    """One row per order line, refunds (a later row with a negative amount) and cancellations included."""
    rng, people = world.rng, world.people
    rows = placed.loc[placed.index.repeat(1 + rng.poisson(1.2, len(placed)))].reset_index(drop=True)
    who, n = rows["person"].to_numpy(), len(rows)
    rows["line_no"] = rows.groupby("order_id").cumcount() + 1
    product, category = products(world, who)
    rows["product_id"], rows["category"] = [f"p{i:04d}" for i in product], np.array(names.CATEGORIES)[category]
    rows["quantity"] = 1 + rng.poisson(0.3, n)
    rows["unit_price"] = world.prices[product]
    rows["amount"] = (rows["unit_price"] * rows["quantity"]).round(2)
    rows["currency"] = "GBP"
    dropped = rng.random(len(placed)) < how.CANCELLED
    rows["status"] = np.where(rows["order_id"].isin(placed["order_id"][dropped]), "cancelled", "paid")
    _identify(rng, people, rows)
    back = rows[(rows["status"] == "paid") & (rng.random(n) < how.REFUNDED)].copy()
    back["day"] += rng.integers(2, 20, len(back))
    back["status"], back["amount"] = "refunded", -back["amount"]
    rows = pd.concat([rows, back[back["day"] <= world.last]], ignore_index=True)
    return rows.sort_values(["day", "second", "order_id", "line_no"], ignore_index=True, kind="stable")


def products(world: World, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(product number, category number) for each of `who`, mostly of the category they like."""
    n = len(who)
    category = np.where(world.rng.random(n) < 0.6, world.taste[who], world.rng.integers(0, len(names.CATEGORIES), n))
    return category * names.PRODUCTS_EACH + world.rng.integers(0, names.PRODUCTS_EACH, n), category


def _identify(rng: np.random.Generator, people: pd.DataFrame, rows: pd.DataFrame) -> None:
    """user_id, loyalty_card, email, phone of each line: the same on all lines of an order, at least one of them."""
    order = rows.drop_duplicates("order_id")
    who, n = order["person"].to_numpy(), len(order)
    signed, store = order["logged_in"].to_numpy(), (order["channel"] == "store").to_numpy()
    get = {c: people[c].to_numpy()[who] for c in ("user_id", "card", "email", "alt_email", "mobile", "borrows_mail")}
    user = np.where(signed, get["user_id"], "")
    card = np.where((get["card"] != "") & (store | (rng.random(n) < 0.5)), get["card"], "")
    mail = np.where(~signed & (rng.random(n) < 0.05) & ~get["borrows_mail"], get["alt_email"], get["email"])
    nothing = (user == "") & (card == "")
    # a borrowed address stands alone or not at all: beside another identifier it would tie two people together
    mail = np.where(nothing | (~get["borrows_mail"] & (rng.random(n) < 0.6)), mail, "")
    phone = np.where((rng.random(n) < 0.4) & ~(get["borrows_mail"] & (mail != "")), get["mobile"], "")
    keys = pd.DataFrame({"user_id": user, "loyalty_card": card, "email": mail, "phone": phone}, order["order_id"])
    for column in keys:
        rows[column] = keys[column].reindex(rows["order_id"]).to_numpy()


def sessions(world: World, placed: pd.DataFrame, kind: str) -> pd.DataFrame:
    """One row per visit on the web or in the app: person, day, second, buys, login, key (cookie or device)."""
    rng, people, web = world.rng, world.people, kind == "web"
    here = people["visitor" if web else "app"].to_numpy()
    visits = how.VISITS_PER_DAY if web else how.APP_VISITS_PER_DAY
    # browsing follows the buying rate only half: the rest is a signal of its own
    rows = world.draw(here * visits * (0.4 + 0.6 * world.rate / how.RATE_PER_DAY), after_death=0.1, power=1.8)
    bought = placed[placed["channel"] == kind]
    rows["buys"], rows["login"] = False, people["account"].to_numpy()[rows["person"]] & (rng.random(len(rows)) < 0.5)
    bought = bought.assign(buys=True, login=bought["logged_in"], second=bought["second"] - 600)
    rows = pd.concat([rows, bought[list(rows)], *([_guests(world)] if web else [])], ignore_index=True)
    rows["guest"] = rows.get("guest", pd.Series(False, rows.index)).eq(True)
    rows = rows[rows["day"] <= world.last].sort_values(["day", "second", "person"], ignore_index=True)
    first = ~rows.duplicated("person")
    rows["login"] |= first.to_numpy() & people["account"].to_numpy()[rows["person"]]
    rows["signup"] = rows["login"] & first
    _devices(rng, people, rows, web)
    return rows


def _guests(world: World) -> pd.DataFrame:
    """A visit of the owner of each shared device, and a later one there of who shares it, so that each is shared."""
    people, came = world.people, np.maximum(world.joined, 0)
    guest = np.flatnonzero(people["owner"].to_numpy() != people.index.to_numpy())
    host = people["owner"].to_numpy()[guest]
    first = came[host] + world.rng.integers(0, 60, len(host))
    then = np.maximum(first + how.LATE_DAYS + 2, came[guest]) + world.rng.integers(0, 30, len(host))
    rows = pd.DataFrame({"person": np.r_[host, guest], "day": np.r_[first, then], "guest": np.r_[host < 0, guest >= 0]})
    return rows.assign(second=world.rng.integers(8 * 3600, 21 * 3600, len(rows)), buys=False, login=False)


def _devices(rng: np.random.Generator, people: pd.DataFrame, rows: pd.DataFrame, web: bool) -> None:
    """key: the person's own cookie or device, or the one of the household, once its owner has long logged in there."""
    who = rows["person"].to_numpy()
    column = "cookie" if web else "device"
    own = people[column].to_numpy()[who]
    if web:
        second = (rng.random(len(rows)) < 0.25) & ~people["shares_device"].to_numpy()[who]
        own = np.where(second, people["cookie2"].to_numpy()[who], own)
    logins = rows[rows["login"]].groupby("person")["day"].min().reindex(people.index)
    owner = people["owner"].to_numpy()[who]
    # more than LATE_DAYS apart: the owner's login has landed before anybody else is seen on the device
    later = rows["day"].to_numpy() > logins.to_numpy()[owner] + how.LATE_DAYS + 1
    shared = (owner != who) & later & ((rng.random(len(rows)) < 0.6) | rows["guest"].to_numpy())
    rows["key"] = np.where(shared, people[column].to_numpy()[owner], own)
    rows["shared"] = shared
    rows["login"] |= shared & people["account"].to_numpy()[who] & (rng.random(len(rows)) < 0.3)


def events(world: World, visits: pd.DataFrame) -> pd.DataFrame:
    """One row per page view, search, basket ... of `visits`; a login or signup opens a visit, a purchase closes it."""
    rng = world.rng
    count = 1 + np.minimum(rng.geometric(0.32, len(visits)), 9) + np.where(visits["buys"], 3, 0)
    count = count + np.where(visits["login"], 1, 0)
    rows = visits.loc[visits.index.repeat(count)].reset_index(drop=True)
    n, total = len(rows), np.repeat(count, count)
    place = np.arange(n) - np.repeat(np.cumsum(count) - count, count)
    kind = rng.choice(["page_view", "search", "add_to_cart"], n, p=[0.72, 0.17, 0.11]).astype(object)
    left = total - place
    for back, word in ((3, "add_to_cart"), (2, "checkout"), (1, "purchase")):
        kind[rows["buys"].to_numpy() & (left == back)] = word
    calm = ~rows["buys"].to_numpy() & ~rows["shared"].to_numpy() & (left == 1)
    calm &= ~world.people["borrows_mail"].to_numpy()[rows["person"]]
    kind[calm & (place > 0) & (rng.random(n) < 0.02)] = "newsletter"
    opens = (place == 0) & rows["login"].to_numpy()
    kind[opens] = np.where(rows["signup"][opens], "signup", "login")
    rows["kind"], rows["second"] = kind, rows["second"] + place * 45 + rng.integers(0, 40, n)
    product, category = products(world, rows["person"].to_numpy())
    rows["product"], rows["category"], rows["price"] = product, category, world.prices[product]
    return rows


def mails(world: World) -> pd.DataFrame:
    """One row per e-mail sent, opened, clicked ...: person, day, second, kind; and the day of each unsubscription."""
    rng, people = world.rng, world.people
    leaves = rng.random(len(people)) < how.UNSUBSCRIBES
    stops = np.where(leaves, np.maximum(world.joined, 0) + rng.exponential(300, len(people)), 1e9)
    rate = people["subscribed"].to_numpy() * ~people["borrows_mail"].to_numpy() * how.MAILS_PER_DAY
    sent = world.draw(rate, after_death=1.0, power=0.0).assign(kind="sent")
    who, day = sent["person"].to_numpy(), sent["day"].to_numpy()
    sent = sent[(day <= np.minimum(world.last, stops[who]))].reset_index(drop=True)
    who, day, n = sent["person"].to_numpy(), sent["day"].to_numpy(), len(sent)
    sent["campaign"] = [f"news-{(world.first + timedelta(int(d))):%Y-%m}" for d in day]
    eager = np.clip(0.33 * world.mood_at(who, day) ** 0.8 * np.where(world.alive(who, day), 1, 0.15), 0, 0.9)
    opened = rng.random(n) < eager
    clicked = opened & (rng.random(n) < 0.22)
    last = pd.Series(day).groupby(who).transform("max").to_numpy()
    gone = (day == last) & (stops[who] <= world.last) & ~sent["person"].duplicated(keep="last").to_numpy()
    parts = [sent]
    for kind, chosen, wait in (("open", opened, 900), ("click", clicked, 1200), ("unsubscribe", gone, 1800),
                               ("bounce", ~opened & (rng.random(n) < 0.008), 5)):  # fmt: skip
        parts.append(sent[chosen].assign(kind=kind, second=lambda rows, wait=wait: rows["second"] + wait))
    return pd.concat(parts).sort_values(["day", "second", "person", "kind"], ignore_index=True)


def tickets(world: World, placed: pd.DataFrame) -> pd.DataFrame:
    """One row per support ticket: person, day, second, angry. Some who are about to leave complain first."""
    rng = world.rng
    asked = placed[rng.random(len(placed)) < how.TICKET_PER_ORDER][["person", "day", "second"]].copy()
    asked["day"] += rng.integers(0, 8, len(asked))
    asked["angry"] = rng.random(len(asked)) < 0.12
    leaving = np.flatnonzero((world.death < world.horizon) & (rng.random(len(world.death)) < how.ANGRY_BEFORE_LEAVING))
    day = (world.death[leaving] - rng.integers(1, 46, len(leaving))).astype(int)
    keep = day >= np.maximum(world.joined[leaving], 0)
    upset = pd.DataFrame({"person": leaving[keep], "day": day[keep], "angry": True})
    upset["second"] = rng.integers(8 * 3600, 21 * 3600, len(upset))
    rows = pd.concat([asked, upset], ignore_index=True)
    return rows[rows["day"] <= world.last].sort_values(["day", "second", "person"], ignore_index=True)


def choices(world: World, mail: pd.DataFrame) -> pd.DataFrame:
    """One row per consent: person, day, second, purpose, status; withdrawals and some re-grants follow grants."""
    rng, people, n = world.rng, world.people, len(world.people)
    index, start = np.arange(n), np.maximum(world.joined, 0)
    parts = []
    granted = (people["subscribed"].to_numpy(), rng.random(n) < 0.55, rng.random(n) < 0.6)
    for purpose, yes in zip(("marketing_email", "advertising", "profiling"), granted, strict=True):
        asked = rng.random(n) < (0.92 if purpose == "marketing_email" else 0.55)
        first = pd.DataFrame({"person": index, "day": start, "second": 22 * 3600, "purpose": purpose,
                              "status": np.where(yes, "granted", "denied")})  # fmt: skip
        taken = first[asked & yes & (rng.random(n) < 0.08)].copy()
        taken["day"] += rng.integers(20, 400, len(taken))
        taken["status"] = rng.choice(["withdrawn", "objected"], len(taken), p=[0.8, 0.2])
        parts += [first[asked], taken]
    left = mail.loc[mail["kind"] == "unsubscribe", ["person", "day", "second"]]
    parts.append(left.assign(purpose="marketing_email", status="withdrawn"))
    gone = pd.concat(parts[1::2] + parts[-1:], ignore_index=True)
    again = gone[rng.random(len(gone)) < 0.2].drop_duplicates(["person", "purpose"]).copy()
    again["day"] += rng.integers(20, 120, len(again))
    rows = pd.concat([*parts, again.assign(status="granted")], ignore_index=True)
    rows = rows[rows["day"] <= world.last]
    return rows.sort_values(["day", "second", "person", "purpose", "status"], ignore_index=True)
