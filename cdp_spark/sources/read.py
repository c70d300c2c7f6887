"""What came in? Files of any declared format as rows of text: one map of fields a row, bad rows with their reason."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from cdp_spark.config.reading import quoted
from cdp_spark.config.source import Source
from cdp_spark.shown import STRICT

CORRUPT = "_corrupt"
TEXT_MAP = "map<string,string>"
# C3 A9 read as Latin-1 is 'Ã©': a lead byte of UTF-8 followed by a continuation byte, which no Latin-1 text holds
MOJIBAKE = "[\u00c2-\u00f4][\u0080-\u00bf]"
REPLACED = "\ufffd"


class SourceError(Exception):
    """A source cannot be landed as a whole; the others go on."""


class Raw(NamedTuple):
    """`rows`: data map, file, raw text, rule, reason (both null for a row that could be read); `fields` that came."""

    rows: DataFrame
    fields: frozenset[str]


def raw_rows(spark: SparkSession, name: str, source: Source, files: list[str]) -> Raw:
    """Every row of `files`. Raises SourceError where a required field is in none of them."""
    if source.format == "csv":
        return _csv(spark, name, source, files)
    found = (_json if source.format == "json" else _columns)(spark, source, files)
    _demand(f"source {name}", source, found.fields, "no file of the drop")
    return found


def _demand(where: str, source: Source, fields: Collection[str], place: str) -> None:
    """Raises SourceError where `fields` lack a required one, or are none of those that the source declares."""
    needed = (*source.required, *source.key)
    missing = [field for field in needed if field not in fields]
    if not missing and (needed or set(fields) & set(source.fields)):
        return
    lacking = f"field {missing[0]!r} is in" if missing else "no declared field is in"
    if source.format == "csv" and len(fields) == 1:
        hint = f"the header is one field: is the delimiter {source.options.get('sep', ',')!r} (options.sep) right?"
    elif any(odd in field for field in fields for odd in ("\0", "\ufffd")):
        hint = f"the header is no {source.options.get('encoding', 'UTF-8')}: is options.encoding right?"
    else:
        hint = "is its header line there?" if source.format == "csv" else f"it has {len(fields)} fields;"
        hint += " Has the source renamed it? (fields, required and key in its YAML)"
    raise SourceError(f"{where}: {lacking} {place if missing else place.removeprefix('no ')}; {hint}")


def _options(source: Source) -> dict[str, str]:
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in source.options.items()}


def _csv(spark: SparkSession, name: str, source: Source, files: list[str]) -> Raw:
    options = {
        "header": "true",
        "mode": "PERMISSIVE",
        "columnNameOfCorruptRecord": CORRUPT,
        "quote": '"',
        "escape": '"',
    }
    options |= _options(source)
    parts, fields = [], set()
    for header, same in _by_header(spark, options, files).items():
        # each file by itself: the first row of one without a header would pass for names of fields, and be logged
        file = same[0].rsplit("/", 1)[-1]
        if twice := _repeated(spark, options, same[0], header):
            raise SourceError(
                f"source {name}: the header of {file} names {twice!r} twice; each field needs its own name"
            )
        _demand(f"source {name}", source, header, f"no header of {file}")
        schema = T.StructType([T.StructField(c, T.StringType()) for c in (*header, CORRUPT)])
        frame = spark.read.schema(schema).options(**options, enforceSchema="false").csv(same)
        data = F.map_from_arrays(F.array(*(F.lit(c) for c in header)), F.array(*(F.col(quoted(c)) for c in header)))
        parts.append(_judged(frame, data, F.col(CORRUPT), source, f"{len(header)} columns"))
        fields |= set(header)
    return Raw(_union(parts), frozenset(fields))


def _repeated(spark: SparkSession, options: dict[str, str], file: str, header: tuple[str, ...]) -> str | None:
    """A name that the header of `file` has twice: Spark numbers such fields (`spend3`, `spend4`), as no source calls
    them. None where there is none; the place is told of a name that may be data."""
    if options["header"] != "true" or not any(column.endswith(str(i)) for i, column in enumerate(header)):
        return None  # without a header line the first one is a row: its values may well be equal, and are not told
    plain = {k: v for k, v in options.items() if k not in ("columnNameOfCorruptRecord", "header")}
    row = spark.read.options(**plain, header="false").csv(file).first() or ()
    names = [str(value).strip().lower() for value in row if value is not None]
    twice = [i for i, name in enumerate(names) if name in names[:i]]
    if not twice:
        return None
    return names[twice[0]] if STRICT.fullmatch(names[twice[0]]) else f"field {twice[0] + 1}"


def _by_header(spark: SparkSession, options: dict[str, str], files: list[str]) -> dict[tuple[str, ...], list[str]]:
    """Files by their header; files of one drop may differ where a source has added a column half-way."""
    found: dict[tuple[str, ...], list[str]] = {}
    for file in files:
        head = spark.read.options(**{k: v for k, v in options.items() if k != "columnNameOfCorruptRecord"})
        columns = tuple(c.lstrip("\ufeff").strip() for c in head.option("inferSchema", "false").csv(file).columns)
        if columns:
            found.setdefault(columns, []).append(file)
    return found


def _json(spark: SparkSession, source: Source, files: list[str]) -> Raw:
    lines = spark.read.options(**_options(source)).text(files).where(F.trim("value") != "")
    data = one_object("value")
    broken = F.when(data.isNull() | (F.size(data) <= 0), F.col("value"))
    rows = _judged(lines, data, broken, source, "one JSON object a line")
    return Raw(rows, _keys(rows))


def one_object(text: str) -> Column:
    """The JSON object that column `text` is, as a map of text; null where it is none, or where something follows it."""
    # read as a list of one: the parser would pass over whatever follows an object
    objects = F.from_json(F.concat(F.lit("["), text, F.lit("]")), f"array<{TEXT_MAP}>")
    return F.when(F.size(objects) == 1, objects[0])


def _keys(rows: DataFrame) -> frozenset[str]:
    """Names of all fields in the drop: bounded by the source's schema, not by its rows."""
    keys = rows.where("rule IS NULL").select(F.explode(F.map_keys("data")).alias("key")).distinct()
    return frozenset(row.key for row in keys.limit(5_000).collect())


def _columns(spark: SparkSession, source: Source, files: list[str]) -> Raw:
    reader = spark.read.options(**_options(source))
    frame = reader.option("mergeSchema", "true").parquet(*files) if source.format == "parquet" else reader.format(
        "delta").load(files[0])  # fmt: skip
    return typed_rows(frame, source, F.col("_metadata.file_path"))


def typed_rows(frame: DataFrame, source: Source, file: Column) -> Raw:
    """Raw rows of a frame that has types: its values as text, nested ones as JSON."""
    texts = [_text(field) for field in frame.schema.fields]
    data = F.map_from_arrays(F.array(*(F.lit(f.name) for f in frame.schema.fields)), F.array(*texts))
    return Raw(_judged(frame, data, F.lit(None), source, "rows", file), frozenset(frame.columns))


def _text(field: T.StructField):
    col = F.col(quoted(field.name))
    if isinstance(field.dataType, T.StructType | T.ArrayType | T.MapType):
        return F.to_json(col)
    return F.base64(col) if isinstance(field.dataType, T.BinaryType) else col.cast("string")


def _judged(frame: DataFrame, data, broken, source: Source, expected: str, file: Column | None = None) -> DataFrame:
    """data, file, raw, rule, reason: `raw` is kept only of a row that could not be read, as `data` holds the others."""
    file = F.col("_metadata.file_path") if file is None else file
    rows = frame.select(data.alias("data"), file.alias("file"), broken.alias("raw"))
    texts = F.concat_ws(" ", F.map_values("data"))
    charset = str(source.options.get("encoding", "UTF-8"))
    odd = texts.rlike(MOJIBAKE) if "8859" in charset else texts.contains(REPLACED)
    unread = F.col("raw").isNotNull()
    rule = F.when(unread, F.lit(f"malformed_{source.format}")).when(odd, F.lit("encoding"))
    reason = F.when(unread, F.lit(f"expected {expected}")).when(odd, F.lit(f"expected {charset} text"))
    return rows.withColumn("rule", rule).withColumn("reason", reason)


def _union(parts: list[DataFrame]) -> DataFrame:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.unionByName(part)
    return whole
