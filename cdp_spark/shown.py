"""Which names may stand in a message? Those that look like names: a file without a header line has values there."""

from __future__ import annotations

import re
from collections.abc import Iterable

STRICT = re.compile(r"[A-Za-z_][\w.\-]{0,39}")
LOOSE = re.compile(r"[^\W\d][\w .\-/()%#]{0,39}")  # in a table where nothing looks like data: `Customer ID`
MANY_DIGITS = re.compile(r"(\d[ .\-/]?){5,}")  # a phone number, a date
MOST = 20


def named(fields: Iterable[object]) -> str:
    """Names of fields, sorted, for a message. What does not look like one (an address, a number) is counted only."""
    texts = [str(field) for field in fields]
    whole = all(LOOSE.fullmatch(text) and not MANY_DIGITS.search(text) for text in texts)
    plain = sorted(texts if whole else filter(STRICT.fullmatch, texts))
    hidden = len(texts) - len(plain)
    more = [f"{len(plain) - MOST} more"] if len(plain) > MOST else []
    return ", ".join([*plain[:MOST], *more, *([f"{hidden} that look like data and are not shown"] if hidden else [])])
