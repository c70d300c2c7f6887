"""How do rows reach the lake? A folder a source and day, with rows that are late, repeated or malformed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cdp_spark.demo import corrupt
from cdp_spark.demo import difficulty as how
from cdp_spark.demo.behaviour import World

LAST = how.HISTORY_DAYS - 1
ORDER_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("order_id",)] + [("line_no", pa.int64())]
    + [(name, pa.string()) for name in ("user_id", "email", "phone", "product_id", "category")]
    + [("quantity", pa.int64()), ("unit_price", pa.float64()), ("amount", pa.float64())]
    + [(name, pa.string()) for name in ("currency", "status", "channel")]
    + [("ordered_at", pa.timestamp("us", tz="UTC")), ("loyalty_card", pa.string())]
)  # fmt: skip


class Landing:
    """Writes the files of all days; `counts` says how many rows each file holds, header left out."""

    def __init__(self, world: World, out: Path):
        self.world, self.rng, self.out = world, world.rng, out
        self.counts: dict[str, dict[str, int]] = {}

    def with_arrival(self, rows: pd.DataFrame, never_bad: np.ndarray | None = None) -> pd.DataFrame:
        """`rows` that land within the drops, with `arrival` (day of the drop), `bad` (malformed) and `received`.

        What was late before the first drop lies in it like all else: only `received`, where a source has it, tells.
        """
        day, n = rows["day"].to_numpy(), len(rows)
        delay = np.where(self.rng.random(n) < how.LATE, self.rng.integers(1, how.LATE_DAYS + 1, n), 0)
        bad = self.rng.random(n) < how.MALFORMED
        bad &= True if never_bad is None else ~never_bad
        moment = self.world.moment(day + delay, rows["second"].to_numpy() + 2)
        received = np.char.add(np.datetime_as_string(moment, unit="s"), "Z").astype(object)
        rows = rows.assign(arrival=np.maximum(day + delay, LAST), bad=bad, received=received)
        return rows[rows["arrival"] <= self.world.last].reset_index(drop=True)

    def days(self):
        """(day number, its date as text) of each drop."""
        for day in range(LAST, self.world.last + 1):
            yield day, (self.world.first + timedelta(day)).isoformat()

    def _file(self, source: str, day: str, name: str, rows: int) -> Path:
        folder = self.out / "drops" / source / day
        folder.mkdir(parents=True, exist_ok=True)
        self.counts.setdefault(source, {})[day] = rows
        return folder / name

    def _repeated(self, good: np.ndarray) -> np.ndarray:
        """Places of rows that are sent twice."""
        return np.flatnonzero(good & (self.rng.random(len(good)) < how.DUPLICATED))

    def json(self, source: str, file: str, rows: pd.DataFrame, render: Callable[[pd.DataFrame], list[str]]) -> None:
        """Writes `rows` (with arrival, bad) as JSON lines, a file a day."""
        for day, text in self.days():
            part = rows[rows["arrival"] == day]
            lines, bad = render(part), part["bad"].to_numpy()
            for at in np.flatnonzero(bad):
                lines[at] = corrupt.bad_json(lines[at], self.rng.random())
            lines += [lines[at] for at in self._repeated(~bad)]
            body = "".join(f"{line}\n" for line in lines)
            self._file(source, text, file, len(lines)).write_bytes(body.encode())

    def csv(self, source: str, file: str, day: str, rows: pd.DataFrame, fields: list[str], date_field: int,
            separator: str = ",", encoding: str = "utf-8") -> None:  # fmt: skip
        """Writes `rows` (with bad) as the CSV of one day; no value holds the separator."""
        columns = [rows[field].astype(str) for field in fields]
        lines, bad = [separator.join(values) for values in zip(*columns, strict=True)], rows["bad"].to_numpy()
        for at in np.flatnonzero(bad):
            nature = (at % 10 + 0.5) / 10
            lines[at] = corrupt.bad_csv(lines[at], nature, separator, date_field)
        lines += [lines[at] for at in self._repeated(~bad)]
        body = "\n".join([separator.join(fields), *lines]) + "\n"
        self._file(source, day, file, len(lines)).write_bytes(body.encode(encoding))

    def parquet(self, source: str, file: str, rows: pd.DataFrame) -> None:
        """Writes order lines, a file a day; a malformed row has no order_id."""
        for day, text in self.days():
            part = rows[rows["arrival"] == day].reset_index(drop=True)
            again = self._repeated(~part["bad"].to_numpy())
            part = pd.concat([part, part.iloc[again]], ignore_index=True)
            part["order_id"] = part["order_id"].where(~part["bad"], None)
            moment = self.world.moment(part["day"], part["second"])
            arrays = []
            for field in ORDER_SCHEMA:
                if field.name == "ordered_at":
                    arrays.append(pa.array(moment.astype("datetime64[us]")).cast(field.type))
                elif pa.types.is_string(field.type):
                    arrays.append(pa.array([value or None for value in part[field.name]], field.type))
                else:
                    arrays.append(pa.array(part[field.name].to_numpy(), field.type))
            path = self._file(source, text, file, len(part))
            pq.write_table(pa.Table.from_arrays(arrays, schema=ORDER_SCHEMA), path)
