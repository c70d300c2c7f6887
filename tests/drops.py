"""Two days of a tiny shop, written as its systems would export them: each row is there for a reason."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

DAY1, DAY2 = "2026-01-30", "2026-01-31"
CRM = ("CUSTOMER_NO;FIRST_NAME;LAST_NAME;BIRTH_DATE;GENDER;EMAIL;PHONE;STREET;CITY;POSTCODE;COUNTRY;WEB_USER_ID;"
       "CREATED_AT;UPDATED_AT")  # fmt: skip
WHEN = "2026-01-02 10:00:00"


def crm_row(no, first, last, born, email="", phone="", user="", when=WHEN) -> str:
    return f"{no};{first};{last};{born};f;{email};{phone};Mill Lane 1;York;YO1 7HH;GB;{user};{when};{when}"


def event(number, cookie, user=None, at="2026-01-20T10:00:00Z", kind="page_view", agent="Mozilla/5.0", **properties):
    row = {"event_id": f"e{number}", "type": kind, "ts": at, "anonymous_id": cookie}
    row |= {"user_id": user} if user else {}
    page = {"url": "/p/1", "category": "garden"}
    return json.dumps(row | {"context": {"page": page, "user_agent": agent}, "properties": properties})


def put(root: Path, source: str, day: str, file: str, lines: list[str], encoding="utf-8") -> None:
    folder = root / source / day
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(("\n".join(lines) + "\n").encode(encoding))


def order(order_id, line, user=None, email=None, amount=20.0, status="paid", at=datetime(2026, 1, 10, 9)) -> dict:
    return {
        "order_id": order_id, "line_no": line, "user_id": user, "email": email, "phone": None, "product_id": "p1",
        "category": "garden", "quantity": 1, "unit_price": amount, "amount": amount, "currency": "eur",
        "status": status, "channel": "web", "ordered_at": at, "loyalty_card": None,
    }  # fmt: skip


def put_orders(root: Path, day: str, rows: list[dict]) -> None:
    folder = root / "orders" / day
    folder.mkdir(parents=True, exist_ok=True)
    schema = pa.schema(
        [(name, pa.string()) for name in ("order_id", "user_id", "email", "phone", "product_id", "category",
                                          "currency", "status", "channel", "loyalty_card")]
        + [("line_no", pa.int64()), ("quantity", pa.int64()), ("unit_price", pa.float64()), ("amount", pa.float64()),
           ("ordered_at", pa.timestamp("us"))]
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "orders.parquet")


def write(root: Path) -> Path:
    """Both days below `root`.

    Zoë (C1) and Max (C2) share a cookie k1, hers first; Ann is C3 and, with another e-mail, C4 until day 2 ties them.
    """
    day1 = [
        CRM,
        crm_row("C1", "Zoë", "Müller", "1980-01-01", "Zoe@Example.com", "07400 123456", "u1"),
        crm_row("C2", "Max", "Müller", "1982-02-02", "max@example.com", "", "u2"),
        crm_row("C3", "Ann", "Lee", "1990-03-03", "ann@example.com"),
        crm_row("C4", "Anne", "Lee", "1990-03-03", "ann.other@example.com"),
        crm_row("C5", "Bo", "Unknown", "not a date", "bo@example.com").replace(WHEN, "yesterday"),
        "C6;too;few",
    ]
    put(root, "crm", DAY1, "crm.csv", day1, "latin-1")
    day2 = [*day1[:4], crm_row("C4", "Anne", "Lee", "1990-03-03", "ann@example.com", when="2026-01-31 08:00:00"),
            crm_row("C7", "New", "Person", "1999-09-09", "new@example.com", when="2026-01-31 09:00:00")]  # fmt: skip
    put(root, "crm", DAY2, "crm.csv", day2, "latin-1")
    web = [
        event(1, "k1", "u1", "2026-01-05T10:00:00Z", "login"),
        event(2, "k1", "u2", "2026-01-06T10:00:00Z", "login"),
        event(3, "k1", None, "2026-01-07T10:00:00+01:00"),
        event(3, "k1", None, "2026-01-07T10:00:00+01:00"),
        event(4, "k9", agent="Googlebot/2.1"),
        event(5, "k2", kind="newsletter", email="ann@example.com"),
        '{"event_id": "e6", "type": "page_view", "ts": "2026-01',
        event(7, "k3", at="2031-01-01T00:00:00Z"),
        event(8, "k4", at="2026-01-20T10:00:00Z", note="x" * 70_000),
    ]
    put(root, "web", DAY1, "events.jsonl", web)
    put(root, "web", DAY2, "events.jsonl", [web[0], event(9, "k2", at="2026-01-28T10:00:00Z")])
    bought = [order("o1", 1, "u1"), order("o1", 2, "u1", amount=5.0), order("o2", 1, email="ann@example.com")]
    put_orders(root, DAY1, [*bought, order(None, 1)])
    refund = order("o1", 1, "u1", amount=-20.0, status="refunded", at=datetime(2026, 1, 31, 9))
    put_orders(root, DAY2, [refund])
    put(root, "adspend", DAY1, "spend.csv", ["week,channel,geo,spend,currency,impressions,clicks",
                                             "2026-01-05,search,GB,100.5,EUR,1000,50"])  # fmt: skip
    return root
