"""How does a flat file become a frame? CSV of any usual separator, gzipped or not, and Parquet; no types yet."""

from __future__ import annotations

import codecs
import csv
import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

from cdp_spark.shown import named

SEPARATORS = ",;\t|"
BEFORE = {
    "before",
    "known",
    "known_before",
    "known_at",
    "available",
    "at_prediction",
    "always",
    "static",
    "yes",
    "true",
}
HEADER = {"column", "feature", "field", "name", "variable"}  # of the first column of an availability CSV
AFTER = {"after", "during", "outcome", "label", "unavailable", "unknown", "never", "no", "false"}


class TableError(Exception):
    """A table or a call that cannot be worked with: wrong file, wrong column. Exit code 2."""

    exit_code = 2


def read_table(path: str | Path) -> pd.DataFrame:
    """The rows of a .csv, .csv.gz, .tsv, .txt or .parquet file; CSV cells stay text, empty ones are null.

    The separator is the one of , ; tab | that splits the header most. Raises TableError that names file and cure.
    """
    path = Path(path)
    if not path.exists():
        raise TableError(f"{path}: no such file")
    try:
        found = pd.read_parquet(path) if _is_parquet(path) else _csv(path)
    except TableError:
        raise
    except (OSError, EOFError, ValueError, csv.Error, pa.ArrowException, pd.errors.ParserError) as error:
        raise TableError(unreadable(path, error)) from None
    if not isinstance(found.index, pd.RangeIndex):  # a Parquet file may keep a column as the index
        found = found.reset_index(drop=found.index.name is None)
    found.columns = [_one_line(str(name)) for name in found.columns]
    for name in [name for name in found.columns if nested(found[name])]:
        found[name] = found[name].map(str, na_action="ignore")
    if twice := sorted({name for name in found.columns if list(found.columns).count(name) > 1}):
        raise TableError(f"{path}: columns {', '.join(twice)} stand there twice; rename one")
    if found.empty:
        raise TableError(f"{path}: no rows below the header")
    return found


def unreadable(path: Path, error: Exception) -> str:
    """Why a file is no table; never in the error's own words, which may hold cells."""
    if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error)):
        columns, line, cells = found.groups()
        return (f"{path}: line {line} has {cells} cells, but the header names {columns} columns; is a separator or a "
                "quote in it that is not quoted?")  # fmt: skip
    return (f"{path}: cannot be read as CSV or Parquet ({type(error).__name__}); is it whole, one header, every quote "
            "closed?")  # fmt: skip


def _one_line(name: str) -> str:
    return re.sub(r"\s*[\r\n]\s*", " ", name.strip())


def nested(cells: pd.Series | pd.DataFrame) -> bool:
    """Whether a column of a Parquet file holds lists or structures; they are looked at as text."""
    if cells.ndim > 1 or cells.dtype != object:
        return False
    filled = cells.dropna()
    return not filled.empty and isinstance(filled.iloc[0], (list, dict, tuple, set, np.ndarray, bytes))


def _is_parquet(path: Path) -> bool:
    if path.is_dir():
        return True
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _csv(path: Path) -> pd.DataFrame:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    opened = gzip.open if zipped else open
    encoding = _encoding(path, opened)
    head, first, skipped = _beginning(path, opened, encoding)
    separator = max(SEPARATORS, key=lambda one: len(_cells(head, one)))
    names, cells = [_one_line(name) for name in _cells(head, separator)], _cells(first, separator)
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise TableError(f"{path}: columns {', '.join(twice)} stand there twice; rename one")
    if any(cell.strip() for cell in cells[len(names) :]):
        raise TableError(f"{path}: the header names {len(names)} columns, but the first row has {len(cells)} cells")
    return pd.read_csv(
        path, sep=separator, dtype=str, keep_default_na=False, na_values=[""], encoding=encoding, index_col=False,
        compression="gzip" if zipped else None, skipinitialspace=True, skiprows=skipped,
    )  # fmt: skip


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader(line.splitlines(keepends=True), delimiter=separator, skipinitialspace=True), [])


def _beginning(path: Path, opened, encoding: str) -> tuple[str, str, int]:
    """(header, first row, lines before the header): blank lines and Excel's `sep=;` are no header."""
    with opened(path, "rb") as file:
        lines = file.read(1 << 20).decode(encoding, errors="ignore").splitlines(keepends=True)
    skipped = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("sep=")), 0)
    head, rest = _record([line for line in lines[skipped:] if line.strip()])
    return head, _record(rest)[0], skipped


def _record(lines: list[str]) -> tuple[str, list[str]]:
    """(first record, lines below it): a quoted cell may go over several lines."""
    quotes = 0
    for number, line in enumerate(lines, 1):
        quotes += line.count('"')
        if quotes % 2 == 0:
            return "".join(lines[:number]), lines[number:]
    return (lines[0], lines[1:]) if lines else ("", [])  # a quote that nothing closes is a character


def _encoding(path: Path, opened) -> str:
    with opened(path, "rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
    decoder = codecs.getincrementaldecoder("utf-8")()  # a block may end within a character
    with opened(path, "rb") as file:
        try:
            while block := file.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8-sig"


def write_table(frame: pd.DataFrame, path: str, index: str | None = None) -> None:
    """`frame` as CSV, its index as the column `index`. Raises TableError where the file cannot be written."""
    try:
        frame.to_csv(path, index=index is not None, index_label=index)
    except OSError as error:
        raise TableError(f"{path}: cannot be written ({type(error).__name__}); is its folder there?") from None


def needs(frame: pd.DataFrame, wanted: list[str | None], where: str) -> None:
    """Raises TableError that names the columns of `wanted` that `frame` lacks, with those it has."""
    if missing := [name for name in wanted if name and name not in frame.columns]:
        raise TableError(f"{where}: no column {', '.join(missing)}. There are: {named(frame.columns)}")


def read_availability(path: str | Path, columns: list[str]) -> dict[str, bool]:
    """Column -> known before the outcome. YAML or JSON `column: before | after`, or a CSV `column,availability`.

    The entry "*" speaks for the columns that are not named. Raises TableError for an unknown word or column.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".csv":
            said = _pairs([row for row in csv.reader(text.splitlines()) if any(row)], columns)
        else:
            said = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise TableError(f"{path}: cannot be read ({type(error).__name__}); write lines `column: before`") from None
    if isinstance(said, dict) and set(said) == {"columns"}:
        said = said["columns"]
    if not isinstance(said, dict):
        raise TableError(f"{path}: expected lines such as `balance: before` and `duration: after`")
    if unknown := [name for name in said if name != "*" and name not in columns]:
        raise TableError(
            f"{path}: the table has no column {', '.join(map(str, unknown))}. It has: {', '.join(columns)}"
        )
    found = {name: _before(path, name, word) for name, word in said.items()}
    return {name: found.get(name, found.get("*")) for name in columns if name in found or "*" in found}


def _pairs(rows: list[list[str]], columns: list[str]) -> dict[str, str]:
    """Column -> word of a CSV with or without a header."""
    pairs = [(row[0].strip(), row[1] if len(row) > 1 else "") for row in rows]
    name, word = pairs[0] if pairs else ("", "")
    strange, named = name not in {*columns, "*"}, name.lower() in HEADER
    unsaid = _known_before(word) is None
    return dict(pairs[1:] if (strange or named) and (unsaid or strange and named) else pairs)


def _known_before(word: str) -> bool | None:
    """What an availability says; None for another word."""
    plain = word.strip().lower().replace(" ", "_")
    words = {plain, plain.split("_")[0]}
    if words & AFTER or "after" in plain.split("_"):
        return False
    return True if words & BEFORE else None


def _before(path: Path, name: str, word) -> bool:
    if isinstance(word, dict):
        word = word.get("available", word.get("availability", word.get("when")))
    if (found := _known_before(str(word))) is not None:
        return found
    raise TableError(f"{path}, {name}: {word!r} is no availability; write before or after (the outcome)")
