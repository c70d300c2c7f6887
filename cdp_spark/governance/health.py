"""Is the platform fresh, and did every source bring about as much as usual? Alerts for a scheduler or a pager."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from functools import partial
from statistics import median

import click
from pyspark.sql import functions as F

from cdp_spark.config.models import Alerts
from cdp_spark.runner import PLACES, RunError, opened, with_options


def alerts(
    accounts: list[dict], published: date | None, today: date, sources: Iterable[str], limits: Alerts
) -> list[str]:
    """One line an alert, [] is well.

    accounts: rows of bronze._reconciliation of layer bronze. published: the newest published day. The newest landing
    of each of `sources` is compared with the median of its `history_days` landings before; a first one with nothing.
    """
    if published is None:
        return ["nothing was ever published: run `cdp run`"]
    found, late = [], (today - published).days
    if late > limits.published_max_days:
        found.append(f"the newest published day is {published}, {late} days ago (alerts.published_max_days)")
    for source in sources:
        mine = [row for row in accounts if row["source"] == source and row["ingest_date"] <= published]
        found += _source(source, sorted(mine, key=lambda row: row["ingest_date"]), published, limits)
    return found


def _source(name: str, rows: list[dict], published: date, limits: Alerts) -> list[str]:
    landed = [row for row in rows if row["status"] == "landed"]
    if not landed:
        return [f"source {name} has never landed"]
    last = landed[-1]
    if last["ingest_date"] < published:
        return [f"source {name} landed last for {last['ingest_date']}, not for {published}"]
    before = [row["rows_in"] for row in landed[:-1]][-limits.history_days :]
    usual, now = median(before) if before else 0, last["rows_in"]
    if usual and not limits.volume_min * usual <= now <= limits.volume_max * usual:
        return [f"source {name} brought {now} rows on {published}, usual are {usual:g} (alerts.volume_min, volume_max)"]
    return []


@click.command("health")
@partial(with_options, options=PLACES)
def health(conf_dir, env, lake, drops, exports) -> None:
    """Freshness and volume: prints alerts, and ends with code 6 where there is one."""
    job = opened(conf_dir, env, lake, drops, exports)
    published = job.lake.read("governance.runs").agg(F.max("date").alias("day")).first()["day"]
    rows = job.lake.read("bronze._reconciliation").where("layer = 'bronze'")
    since = (published or job.date) - timedelta(days=60)
    recent = [row.asDict() for row in rows.where(F.col("ingest_date") >= F.lit(since)).collect()]  # sources x 60 days
    named = [name for name, source in job.conf.sources.items() if not source.optional]
    if told := alerts(recent, published, job.date, named, job.conf.base.alerts):
        raise RunError("\n".join(f"alert: {line}" for line in told), 6)
    click.echo(f"well: {published} is published, {len(named)} sources are as usual")
