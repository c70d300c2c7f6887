"""How does a flat file become a frame? CSV of any usual separator, gzipped or not, and Parquet; no types yet."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pandas as pd
import yaml

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
    except (OSError, ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        kind = type(error).__name__  # the error's own words may hold cells
        raise TableError(
            f"{path}: cannot be read as CSV or Parquet ({kind}); is it whole, UTF-8, one header?"
        ) from None
    found.columns = [str(name).strip() for name in found.columns]
    if twice := sorted({name for name in found.columns if list(found.columns).count(name) > 1}):
        raise TableError(f"{path}: columns {', '.join(twice)} stand there twice; rename one")
    if found.empty:
        raise TableError(f"{path}: no rows below the header")
    return found


def _is_parquet(path: Path) -> bool:
    if path.is_dir():
        return True
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _csv(path: Path) -> pd.DataFrame:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    opened = gzip.open if zipped else open
    with opened(path, "rb") as file:
        head = file.readline()
    encoding = _encoding(path, opened)
    text = head.decode(encoding)
    separator = max(SEPARATORS, key=lambda one: len(next(csv.reader([text], delimiter=one), [])))
    return pd.read_csv(
        path, sep=separator, dtype=str, keep_default_na=False, na_values=[""], encoding=encoding,
        compression="gzip" if zipped else None, skipinitialspace=True,
    )  # fmt: skip


def _encoding(path: Path, opened) -> str:
    with opened(path, "rb") as file:
        while block := file.read(1 << 20):
            try:
                block[:-4].decode("utf-8")  # the last bytes may be half a character
            except UnicodeDecodeError as error:
                if error.start > 3:  # nor do the first of a later block count
                    return "latin-1"
    return "utf-8-sig"


def needs(frame: pd.DataFrame, wanted: list[str | None], where: str) -> None:
    """Raises TableError that names the columns of `wanted` that `frame` lacks, with those it has."""
    if missing := [name for name in wanted if name and name not in frame.columns]:
        raise TableError(f"{where}: no column {', '.join(missing)}. There are: {', '.join(frame.columns)}")


def read_availability(path: str | Path, columns: list[str]) -> dict[str, bool]:
    """Column -> known before the outcome. YAML or JSON `column: before | after`, or a CSV `column,availability`.

    The entry "*" speaks for the columns that are not named. Raises TableError for an unknown word or column.
    """
    path = Path(path)
    try:
        text = path.read_text()
        if path.suffix == ".csv":
            said = dict(row[:2] for row in list(csv.reader(text.splitlines()))[1:] if row)
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


def _before(path: Path, name: str, word) -> bool:
    if isinstance(word, dict):
        word = word.get("available", word.get("availability", word.get("when")))
    plain = str(word).strip().lower().replace(" ", "_")
    first = plain.split("_")[0]
    if plain in BEFORE or first in BEFORE:
        return True
    if plain in AFTER or first in AFTER:
        return False
    raise TableError(f"{path}, {name}: {word!r} is no availability; write before or after (the outcome)")
