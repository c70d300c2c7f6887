"""How does a day's drop become bronze? Source by source: one that fails says why and stops nobody else."""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial
from typing import NamedTuple

from py4j.protocol import Py4JJavaError
from pyspark import StorageLevel
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.source import Source
from cdp_spark.job import Job, side_by_side
from cdp_spark.shown import named
from cdp_spark.sources.jdbc import jdbc_rows, without_watermark
from cdp_spark.sources.land import bronze_rows, deduplicated, judged, quarantined
from cdp_spark.sources.read import Raw, SourceError, raw_rows
from cdp_spark.sources.unreadable import unreadable
from cdp_spark.storage import Storage

STOPPED = "source_stopped"
READ_HINT = "look at the drop's files, and at options and expressions in its YAML (CDP_TRACE=1 shows the whole trace)"

MISSED_DAYS = 31  # that are looked for before a run's day: each costs a listing a source


class Landed(NamedTuple):
    """The account of one source: rows_in = rows_out + quarantined + deduplicated."""

    source: str
    rows_in: int = 0
    rows_out: int = 0
    quarantined: int = 0
    deduplicated: int = 0
    status: str = "landed"
    message: str | None = None


def land_all(job: Job) -> None:
    """Land every source of the deployment, or those in `job.only`, for the job's day and write their accounts."""
    landing, last = landing_number(job)
    before = accounts_before(job)
    if job.only is None and (told := missed(job, last)):
        job.warn(told)
    accounts = side_by_side(partial(_landed, landing=landing, before=before), job, job.conf.sources)
    write_accounts(job, accounts)
    if accounts and all(account.status in ("failed", "missing") for account in accounts) and not _any_bronze(job):
        raise SourceError(
            f"no source could be landed for {job.date} and the lake is empty; is --drops {job.drops} right?"
        )


def _landed(job: Job, name: str, landing: int, before: dict[str, Landed]) -> Landed:
    source = job.conf.sources[name]
    try:
        account = before.get(name) or land(job, name, source, landing)
    except SourceError as error:
        account = Landed(name, status="failed", message=str(error))
    except (PySparkException, Py4JJavaError) as error:
        if not (why := unreadable(error)):
            raise
        account = Landed(name, status="failed", message=f"source {name}: Spark cannot read it: {why}; {READ_HINT}")
    if account.status == "failed" or (account.status == "missing" and not source.optional):
        job.warn(account.message or name)
    return account


def accounts_before(job: Job) -> dict[str, Landed]:
    """Accounts of the day's earlier landing of sources that are not in `job.only`."""
    if job.only is None:
        return {}
    rows = job.lake.read("bronze._reconciliation").where(F.col("ingest_date") == F.lit(job.date))
    theirs = rows.where((F.col("layer") == "bronze") & ~F.col("source").isin(list(job.only)))
    return {row["source"]: Landed(*(row[key] for key in Landed._fields)) for row in theirs.collect()}


def _any_bronze(job: Job) -> bool:
    return any(job.lake.exists(f"bronze.{name}") for name in job.conf.sources)


def landing_number(job: Job) -> tuple[int, date | None]:
    """(sequence number of this day's landing, the newest day landed before it).

    The number is the one that the day had before, else one more than the largest.
    """
    known, day, today = job.lake.read("bronze._landings"), F.col("ingest_date"), F.lit(job.date)
    row = known.agg(F.max(F.when(day == today, F.col("landing"))).alias("same"), F.max("landing").alias("last"),
                    F.max(F.when(day < today, day)).alias("before")).first()  # fmt: skip
    number = row["same"] if row["same"] is not None else (row["last"] or 0) + 1
    rows = [(name, job.date, number) for name in job.conf.sources]
    job.lake.write(
        "bronze._landings", job.spark.createDataFrame(rows, "source string, ingest_date date, landing bigint")
    )
    return number, row["before"]


def missed(job: Job, last: date | None) -> str | None:
    """What to warn of where drops lie there of days between `last`, the newest landed before, and the job's day."""
    storage, days = Storage(job.spark), (job.date - last).days if last else 1
    gap = [job.date - timedelta(days=n) for n in range(min(days - 1, MISSED_DAYS), 0, -1)]
    dated = [source.path for source in job.conf.sources.values() if "{date}" in source.path]
    drops = {one: [f"{job.drops}/{path.replace('{date}', str(one))}" for path in dated] for one in gap}
    found = [one for one, uris in drops.items() if any(storage.files(uri) for uri in uris)]
    if not found:
        return None
    return (
        f"drops of {len(found)} days from {found[0]} to {found[-1]} were never landed: give --from-date {found[0]} "
        f"--to-date {job.date} (Airflow: the DAG cdp_backfill)"
    )


def land(job: Job, name: str, source: Source, landing: int) -> Landed:
    """Land one source; its account. Raises SourceError where a field is missing or a snapshot shrank too far."""
    if source.jdbc:
        raw = jdbc_rows(job.spark, name, source, job.lake.read(f"bronze.{name}"), job.date)
        # one look over the whole table: a run asks for it, a look at what is new every few minutes does not
        if job.only is None and (lost := without_watermark(job.spark, name, source)):
            job.warn(lost)
        return _land_rows(job, name, source, raw, landing)
    uri = f"{job.drops}/{source.path.replace('{date}', str(job.date))}"
    storage = Storage(job.spark)
    files = [uri] if source.format == "delta" else storage.files(uri)
    if not files:
        return Landed(name, status="missing", message=f"source {name}: no file matches {uri}")
    if source.format != "delta":
        files = [file for file in files if storage.size(file)]
    if not files:
        return Landed(name, status="empty", message=f"source {name}: every file of the drop is empty")
    return _land_rows(job, name, source, raw_rows(job.spark, name, source, files), landing)


def _land_rows(job: Job, name: str, source: Source, raw: Raw, landing: int) -> Landed:
    if new := raw.fields - set(source.fields):
        job.warn(f"source {name}: new field(s) {named(new)}; kept in bronze and in `extra`")
    if source.format != "json" and (lost := set(source.fields) - raw.fields):  # JSON leaves out what is empty
        job.warn(f"source {name}: field(s) {named(lost)} are not in the drop: what they fill is empty")
    base = job.conf.base
    rows = judged(raw.rows, source, job.date, max_chars=base.max_field_chars, tolerance=base.future_tolerance)
    rows = rows.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        return write_rows(job, name, source, rows, landing)
    finally:
        rows.unpersist()


def write_rows(job: Job, name: str, source: Source, rows: DataFrame, landing: int) -> Landed:
    """Write judged `rows` of one source's day to bronze and quarantine, in place of what an earlier try wrote.

    The account's status is `failed` where more than max_bad_share is bad. Raises SourceError for a shrunken snapshot.
    """
    good = deduplicated(rows.where("rule IS NULL"), source).persist(StorageLevel.MEMORY_AND_DISK)
    clashes = good.where("rule IS NOT NULL AND _copy = 1").drop("_copy", "_rival")
    bad = rows.where("rule IS NOT NULL").unionByName(clashes)
    counts = rows.agg(F.count(F.lit(1)).alias("all"), F.count("rule").alias("bad")).first()
    total, broken = counts["all"], counts["bad"] + clashes.count()
    kept = good.where("rule IS NULL AND _copy = 1")
    aside = quarantined(bad, name, job.date)
    if total and broken > source.max_bad_share * total:
        return _stopped(job, name, bad, good, (total, broken))
    _refuse_shrunk(job, name, source, kept)
    landed_at = F.lit(job.run_at.replace(tzinfo=None)).cast("timestamp")
    written = job.lake.write(f"bronze.{name}", bronze_rows(kept, name, landing, landed_at), on=job.date)
    # bronze first: a crash in between leaves a replayed row in both tables, never in neither
    job.lake.quarantine(f"bronze.{name}", aside, job.date, rows=broken)
    good.unpersist()
    account = Landed(name, total, written.rows, broken, total - written.rows - broken)
    job.log(f"{name}: {total} rows in, {written.rows} landed, {broken} bad, {account.deduplicated} repeated")
    return account


def _stopped(job: Job, name: str, bad: DataFrame, good: DataFrame, counts: tuple[int, int]) -> Landed:
    """The account of a source of which too much is bad: all its rows are set aside, so that a replay has them all."""
    total, broken = counts
    share = job.conf.sources[name].max_bad_share
    rest = good.where("rule IS NULL").withColumns({
        "raw": F.to_json("data"), "rule": F.lit(STOPPED), "reason": F.lit(f"expected at most {share} of the rows bad"),
    })  # fmt: skip
    whole = quarantined(bad, name, job.date).unionByName(quarantined(rest, name, job.date))
    job.lake.quarantine(f"bronze.{name}", whole, job.date, rows=total)
    worst = bad.groupBy("rule").count().orderBy(F.desc("count"), "rule").first()
    message = (
        f"source {name}: {broken} of {total} rows are bad (most: {worst['rule']}, {worst['count']}), more than "
        f"max_bad_share {share}; nothing was landed, all rows are in quarantine; mend its YAML, then "
        f"cdp quarantine replay --conf {job.conf_dir} --lake {job.lake.root} --source {name} --date {job.date}"
    )
    return Landed(name, total, 0, total, 0, "failed", message)


def _refuse_shrunk(job: Job, name: str, source: Source, kept: DataFrame) -> None:
    if source.mode != "snapshot":
        return
    table = job.lake.read(f"bronze.{name}").where(F.col("_ingest_date") < F.lit(job.date))
    last = table.agg(F.max("_ingest_date").alias("day")).first()["day"]
    if last is None:
        return
    before, now = table.where(F.col("_ingest_date") == F.lit(last)).count(), kept.count()
    if now < (1 - source.shrink_max) * before:
        raise SourceError(
            f"source {name}: the snapshot went from {before} to {now} rows, more than shrink_max {source.shrink_max}; "
            "nothing was landed and nobody deleted; raise shrink_max in its YAML if this is meant"
        )


def write_accounts(job: Job, accounts: list[Landed]) -> None:
    rows = [
        ("bronze", a.source, job.date, a.rows_in, a.rows_out, a.quarantined, a.deduplicated, 0, a.status, a.message)
        for a in accounts
    ]
    columns = job.lake.read("bronze._reconciliation").schema
    job.lake.write("bronze._reconciliation", job.spark.createDataFrame(rows, columns), on=job.date)
