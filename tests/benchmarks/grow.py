"""How do a few people become many? A generated retailer's drops, copied in Spark: same rows, other people.

A copy's people have e-mail addresses, numbers, accounts, cookies, cards and homes of their own, so that nobody is in
two copies and whoever was found in the first is found in each. Names, days and what is bought stay as they are.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

NAMING = (  # what names somebody or a row in a line: a pattern, and what stands before and behind a copy's number
    (r"([A-Za-z0-9_.+-])@", "$1.r", "@"),
    (r'"(event_id|id|ticket_id|user_id|anonymous_id|device_id)": "([^"]+)"', '"$1": "$2-', '"'),
    (r'"identifier": "(u\d+)"', '"identifier": "$1-', '"'),
    (r"^(C\d{6,});", "$1-", ";"),
    (r";(u\d{6,});", ";$1-", ";"),
    (r"^(63\d{8}),", "$1", ","),
    (r";([^;0-9]+ \d+);", ";$1-", ";"),  # a street and its number
)
MOBILES, FIRST_MOBILE, STRIDE = 50_000_000, 7_400_000_000, 9_973  # as cdp_spark/demo/people.py gives them out
# area codes whose numbers of six digits Google's libphonenumber takes for valid; the generated ones are of the first
AREAS = ("1904", "1223", "1224", "1225", "1227", "1228", "1233", "1234", "1235", "1236", "1237", "1239", "1241", "1242",
         "1243", "1244", "1245", "1246", "1248", "1249")  # fmt: skip
NO_COMMAS = {"sep": "\u0001", "quote": ""}  # a line is one field, whatever stands in it
CSV = {"crm": "ISO-8859-1", "loyalty": "UTF-8", "enrichment": "UTF-8"}
JSON = ("web", "app", "email", "support", "consents")


def copied(lines: DataFrame, people: int, copies: int) -> DataFrame:
    """Each line of `value` once a copy, the first as it is. people: how many the drops were generated for."""
    number = F.explode(F.sequence(F.lit(0), F.lit(copies - 1))).alias("copy")
    every = lines.select("value", number)
    return every.select(F.when(F.col("copy") == 0, F.col("value")).otherwise(_as_copy(people)).alias("value"))


def _as_copy(people: int) -> Column:
    text, tail = F.col("value"), F.lpad(F.col("copy").cast("string"), 3, "0")
    for pattern, before, after in NAMING:
        text = F.regexp_replace(text, F.lit(pattern), F.concat(F.lit(before), tail, F.lit(after)))
    return _phone(text, people)


def _phone(text: Column, people: int) -> Column:
    """`text` with the numbers that the generator would give to the next people."""
    found = F.regexp_extract(text, r"74\d{2}[ -]?\d{6}", 0)
    before = F.regexp_replace(found, "[ -]", "").cast("long") - FIRST_MOBILE
    shift = F.col("copy").cast("long") * people * STRIDE
    after = F.lpad(((before + shift) % MOBILES + FIRST_MOBILE).cast("string"), 10, "0")
    mobile = F.when(found == "", text).otherwise(F.replace(text, found, after))
    areas = F.array(*map(F.lit, AREAS))
    area = F.element_at(areas, F.col("copy") % len(AREAS) + 1)
    return F.regexp_replace(mobile, F.lit(r"1904([ -]?\d{6})"), F.concat(area, F.lit("$1")))


def orders_copied(orders: DataFrame, people: int, copies: int) -> DataFrame:
    """Order lines once a copy; a null stays null."""
    every = orders.withColumn("copy", F.explode(F.sequence(F.lit(0), F.lit(copies - 1))))
    tail, first = F.lpad(F.col("copy").cast("string"), 3, "0"), F.col("copy") == 0
    own = {name: F.concat(name, F.lit("-"), tail) for name in ("order_id", "user_id")}
    own |= {"loyalty_card": F.concat("loyalty_card", tail), "phone": _phone(F.col("phone"), people)}
    own["email"] = F.regexp_replace("email", F.lit("@"), F.concat(F.lit(".r"), tail, F.lit("@")))
    changed = {name: F.when(first, F.col(name)).otherwise(column) for name, column in own.items()}
    return every.withColumns(changed).select(*orders.columns)


def grow(spark: SparkSession, drops: Path, out: Path, people: int, copies: int) -> None:
    """Writes the drops of `people` x `copies` people below `out`; every source of the generated retailer."""
    shutil.rmtree(out, ignore_errors=True)
    for folder in sorted(path for path in drops.glob("*/*") if path.is_dir()):
        source, day = folder.parts[-2:]
        target = out / source / day
        if source in CSV:
            options = NO_COMMAS | {"encoding": CSV[source], "header": "true"}
            lines = spark.read.options(**options).csv(str(folder))
            header = lines.columns[0]
            rows = copied(lines.withColumnRenamed(header, "value"), people, copies).withColumnRenamed("value", header)
            _written(rows.write.options(**options), "csv", target, ".csv")
        elif source in JSON:
            rows = copied(spark.read.text(str(folder)), people, copies)
            _written(rows.write, "text", target, ".jsonl")
        elif source == "orders":
            rows = orders_copied(spark.read.parquet(str(folder)), people, copies)
            _written(rows.write, "parquet", target, ".parquet")
        else:  # of nobody: what was spent on advertising
            shutil.copytree(folder, target)


def _written(writer, kind: str, target: Path, suffix: str) -> None:
    """Writes, and names the files as the generator would: a source takes them by their ending."""
    writer.format(kind).save(str(target))
    for number, part in enumerate(sorted(target.glob("part-*"))):
        part.rename(target / f"part-{number:05d}{suffix}")
    for other in [*target.glob(".*.crc"), target / "_SUCCESS", target / "._SUCCESS.crc"]:
        other.unlink(missing_ok=True)
