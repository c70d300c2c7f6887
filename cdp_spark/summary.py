"""What did a run do? The account that people read and `summary.json` holds."""

from __future__ import annotations

import click
from pyspark.sql import functions as F

from cdp_spark.activation.deliveries import exports
from cdp_spark.audiences.members import summary as audiences
from cdp_spark.job import Job
from cdp_spark.marks import marks, warnings


def summary(job: Job, steps: list[dict]) -> dict:
    """Steps with seconds and rows, and identity, models, audiences, exports as far as their tables are there."""
    return {
        "run_id": job.run_id,
        "date": str(job.date),
        "steps": steps,
        "reconciliation": _reconciliation(job),
        "identity": _identity(job),
        "models": _models(job),
        "audiences": audiences(job.lake.read("activation.funnels"), job.as_of),
        "exports": exports(job.lake.read("activation.deliveries"), job.date),
        "warnings": warnings(marks(job), job.date),
    }


def _models(job: Job) -> dict:
    """The newest training of each model: metric, value, baseline, version, and why where it was not promoted."""
    rows = job.lake.read("ml.trainings").where(F.col("as_of") <= F.lit(job.as_of)).orderBy("as_of").collect()
    keys = ("metric", "value", "baseline", "version", "promoted", "reason")
    return {row["model"]: {key: row[key] for key in keys} for row in rows}


def _identity(job: Job) -> dict:
    current = job.lake.read("identity.members").where("valid_to IS NULL")
    row = current.agg(F.count("*").alias("records"), F.count_distinct("person_id").alias("persons")).first()
    return {"records": row["records"], "persons": row["persons"]}


def _reconciliation(job: Job) -> list[dict]:
    """The account of each layer and source of the day; reasons: rows by the rule they broke or were filtered by."""
    day = F.col("ingest_date") == F.lit(job.date)
    rows = job.lake.read("bronze._reconciliation").where(day).orderBy("layer", "source").drop("ingest_date").collect()
    aside = job.lake.read("bronze._quarantine").where(day).groupBy("table_name", "source", "rule").count().collect()
    found = []
    for row in rows:
        mine = (one for one in aside if one["source"] == row["source"])
        reasons = {one["rule"]: one["count"] for one in mine if one["table_name"].startswith(f"{row['layer']}.")}
        source = job.conf.sources.get(row["source"])
        if row["filtered"] and source and source.where:
            reasons[f"not: {source.where}"] = row["filtered"]
        found.append(row.asDict() | {"reasons": dict(sorted(reasons.items()))})
    return found


def print_summary(found: dict) -> None:
    """The account as tables for a terminal."""
    click.echo(f"\n{'step':<12} {'seconds':>8} {'shuffled':>9} {'spilled':>9}  rows")
    for step in found["steps"]:
        rows = ", ".join(f"{name} {count:,}" for name, count in step["rows"].items())
        moved = "".join(f" {step[key] / 2**20:>5.1f} MiB" for key in ("shuffle_bytes", "spill_bytes"))
        click.echo(f"{step['name']:<12} {step['seconds']:>8}{moved}  {rows}")
    click.echo(f"\n{'layer':<7} {'source':<14} {'in':>9} {'out':>9} {'bad':>7} {'repeated':>9} {'filtered':>9}  status")
    for row in found["reconciliation"]:
        counts = (row["rows_in"], row["rows_out"], row["quarantined"], row["deduplicated"], row["filtered"])
        told = "".join(f"{n:>{w},} " for n, w in zip(counts, (9, 9, 7, 9, 9), strict=True))
        click.echo(f"{row['layer']:<7} {row['source']:<14} {told} {row['status']}")
        for reason, count in row["reasons"].items():
            click.echo(f"{'':<22} {count:>29,}  {' '.join(reason.split())[:80]}")
    who = found["identity"]
    click.echo(f"\nidentity: {who['records']:,} records are {who['persons']:,} persons")
    for name, value in who.items():
        if name not in ("records", "persons"):
            click.echo(f"  {name}: {value}")
    for name, model in found["models"].items():
        told = f"version {model['version']}" if model["promoted"] else f"not promoted: {model['reason']}"
        values = " ".join(f"{key} {model[key]:.3f}" for key in ("value", "baseline") if model[key] is not None)
        click.echo(f"model {name}: {model['metric']} {values} ({told})")
    for name, audience in found["audiences"].items():
        left = ", ".join(f"{reason} {count:,}" for reason, count in audience["excluded"].items())
        click.echo(f"audience {name}: {audience['members']:,} members; left out: {left}")
    for sent in found["exports"]:
        click.echo(f"export {sent['destination']}: {sent['rows']:,} rows in {sent['files']} file(s), {sent['uri']}")
    for warning in found["warnings"]:
        click.echo(f"warning: {warning}")
