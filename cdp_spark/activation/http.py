"""How are rows posted to a receiver that may fail in every way? Batches, each with a key, until all are answered.

At least once: a batch is repeated until it is answered. Its key is made of what it holds and of the delivery that it
follows, so a receiver that honours `Idempotency-Key` takes it once, also where a run died and the next one, perhaps of
another day, sends it again. Where batches end is told by the rows themselves: who is no longer there changes one batch.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from cdp_spark.activation.content import OWN
from cdp_spark.activation.objects import DeliveryError
from cdp_spark.config.activation import Http

CODE = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")
AGAIN = {408, 425, 429, 500, 502, 503, 504}


class _Stays(HTTPRedirectHandler):
    """Follows no redirect: that would turn the POST into a GET without its rows, and take the token elsewhere."""

    def redirect_request(self, *_):
        return None


urlopen = build_opener(_Stays).open


class Refused(NamedTuple):
    """A row that the receiver did not take, and its code for why."""

    audience: str
    row_id: str
    person_id: str
    reason: str


class Answer(NamedTuple):
    """Status of a response, its body where it was read whole, and the seconds it asks to wait."""

    status: int
    body: bytes
    retry_after: float | None


def batches(rows: Iterable[dict], size: int) -> Iterator[list[dict]]:
    """Parts of `rows` of size / 2 to `size` rows, the last one of fewer. From size / 2 on a part ends at the first row
    whose id says so, not after a count: where a row is gone, the parts after the next such end are the same again.
    """
    least, part = (size + 1) // 2, []
    for row in rows:
        part.append(row)
        ends = zlib.crc32(row["_row_id"].encode()) % max(size // 4, 1) == 0
        if len(part) == size or (len(part) >= least and ends):
            yield part
            part = []
    if part:
        yield part


def send(
    rows: Iterable[dict], operation: str, follows: str, url: str, http: Http, sleep: Callable = time.sleep
) -> list[Refused]:
    """Post all `rows` (dicts of a frame of `content`); those the receiver refused.

    A request is {"operation", "follows", "rows": [{"row_id", ...}]}. An answer 2xx may name rows it did not take:
    {"errors": [{"row_id" or "index", "code"}]}. Raises DeliveryError where a batch is not answered in http.attempts
    tries, or is refused as a whole; never with a row's value. Its `refused` are the rows refused until then.

    follows: what names the last delivery that was made whole; the same rows after another one are another request.
    """
    refused = []
    for batch in batches(rows, http.batch_rows):
        body = _body(operation, follows, batch)
        key = f"{operation}-{hashlib.sha256(body).hexdigest()[:32]}"
        try:
            refused += _not_taken(batch, _posted(url, body, key, http, sleep), url)
        except DeliveryError as error:
            error.refused = refused
            raise
    return refused


def _body(operation: str, follows: str, batch: list[dict]) -> bytes:
    shown = [
        {"row_id": row["_row_id"]} | {k: v for k, v in row.items() if k not in OWN and v is not None} for row in batch
    ]
    told = {"operation": operation, "follows": follows, "rows": shown}
    return json.dumps(told, separators=(",", ":"), sort_keys=True, default=str).encode()


def _posted(url: str, body: bytes, key: str, http: Http, sleep: Callable) -> bytes:
    answer, kind = None, ""
    for attempt in range(http.attempts):
        if attempt:
            wait = http.backoff_seconds * 2 ** (attempt - 1)
            if answer is not None and answer.retry_after is not None:
                wait = max(wait, answer.retry_after)
            sleep(min(wait, http.backoff_max_seconds))
        answer, kind = _once(url, body, key, http)
        if answer is None or answer.status in AGAIN:
            continue
        if 200 <= answer.status < 300:
            return answer.body
        raise _refusal(url, answer.status, http)
    raise DeliveryError(
        f"{place(url)}: no answer that counts in {http.attempts} attempts (last: {kind}). What was taken so far is "
        "sent again under the same key by the next run. Check that the receiver runs, `endpoints:` in conf/env, and "
        "http.attempts, timeout_seconds and backoff_seconds of the destination"
    )


def _once(url: str, body: bytes, key: str, http: Http) -> tuple[Answer | None, str]:
    """The answer to one request, or None where it was not answered whole; and in a word what happened."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    if http.token_env:
        if not (token := os.environ.get(http.token_env)):
            raise DeliveryError(f"{place(url)}: no credentials; set the environment variable {http.token_env}")
        headers["Authorization"] = f"Bearer {token}"
    request = Request(url, data=body, headers=headers, method="POST")
    try:
        with urlopen(request, timeout=http.timeout_seconds) as response:
            return Answer(response.status, response.read(), None), f"status {response.status}"
    except HTTPError as error:
        with error:
            return Answer(error.code, b"", _seconds(error.headers.get("Retry-After"))), f"status {error.code}"
    except URLError as error:
        return None, type(error.reason).__name__
    except (OSError, EOFError) as error:  # reset or timed out in the middle of the answer
        return None, type(error).__name__
    except Exception as error:
        if type(error).__module__ != "http.client":  # an answer that ends early or is no HTTP
            raise
        return None, type(error).__name__


def _seconds(header: str | None) -> float | None:
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _refusal(url: str, status: int, http: Http) -> DeliveryError:
    if status in (401, 403):
        token = f"the environment variable {http.token_env}" if http.token_env else "http.token_env (none is set)"
        return DeliveryError(f"{place(url)}: credentials refused (status {status}). Check {token} and what it may do")
    if 300 <= status < 400:
        return DeliveryError(
            f"{place(url)}: the receiver redirects (status {status}) and no redirect is followed, lest token and "
            "rows go to another place; give its final address under `endpoints:` in conf/env"
        )
    if status == 413:
        return DeliveryError(f"{place(url)}: a batch is too large (status 413); lower http.batch_rows")
    return DeliveryError(
        f"{place(url)}: a batch was refused as a whole (status {status}); check the fields of the destination and "
        "`endpoints:` in conf/env against what the receiver expects"
    )


def place(url: str) -> str:
    """The address without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _errors(body: bytes, url: str) -> list[dict]:
    """What the answer says of single rows; words that are no JSON (`OK`) say nothing of them."""
    if body.lstrip().startswith(b"<"):
        raise DeliveryError(
            f"{place(url)}: the answer is a page, not a receiver's word (a proxy, a login?); check `endpoints:` in "
            "conf/env"
        )
    try:
        told = json.loads(body) if body.strip() else {}
    except ValueError:
        return []
    errors = (told.get("errors") if isinstance(told, dict) else None) or []
    if not isinstance(errors, list) or not all(isinstance(error, dict) for error in errors):
        raise DeliveryError(
            f"{place(url)}: the answer's `errors` are not understood: expected a list of {{row_id or index, code}}"
        )
    return errors


def _not_taken(batch: list[dict], body: bytes, url: str) -> list[Refused]:
    """Rows that the answer names. Raises DeliveryError where it names one of another batch: what was taken then?"""
    by_id = {row["_row_id"]: row for row in batch}
    found = {}
    for error in _errors(body, url):
        index = error.get("index")
        row = by_id.get(error.get("row_id")) or (
            batch[index] if isinstance(index, int) and 0 <= index < len(batch) else None
        )
        if row is None:
            raise DeliveryError("the receiver refused a row that was not in the batch: check that it echoes row_id")
        code = str(error.get("code", ""))
        reason = code if CODE.match(code) else "refused"  # free text may quote the row
        found[row["_row_id"]] = Refused(row["_audience"], row["_row_id"], row["_person_id"], reason)
    return list(found.values())
