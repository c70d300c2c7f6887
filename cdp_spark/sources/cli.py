"""`cdp quarantine`: what was set aside and why, and another try."""

from __future__ import annotations

import click

from cdp_spark.runner import lock, with_options


@click.group()
def quarantine() -> None:
    """Bad rows: what was set aside and why; replay them after a source's rules were mended."""


@quarantine.command("list")
@with_options
def list_command(conf_dir, env, lake, drops, exports, text) -> None:
    """Bad rows of a day by table, source and rule. Never shows a row's values."""
    job = _job(conf_dir, env, lake, drops, exports, text)
    rows = job.lake.read("bronze._quarantine").where(f"ingest_date = '{job.date}'")
    found = rows.groupBy("table_name", "source", "rule", "reason").count().orderBy("table_name", "rule").collect()
    for row in found:
        click.echo(f"{row['count']:>8,}  {row['table_name']:<20} {row['rule']:<24} {row['reason']}")
    if not found:
        click.echo(f"no row was set aside on {job.date}")


@quarantine.command("replay")
@with_options
@click.option("--source", "name", required=True, help="the source whose bad rows are judged again")
def replay_command(conf_dir, env, lake, drops, exports, text, name) -> None:
    """Judge a day's bad rows again by the source's present rules; the drop is not needed."""
    from cdp_spark.sources.ingest import SourceError
    from cdp_spark.sources.replay import replay

    job = _job(conf_dir, env, lake, drops, exports, text)
    try:
        with lock(job):
            found = replay(job, name)
    except SourceError as error:
        raise click.ClickException(str(error)) from None
    click.echo(
        f"{name} on {job.date}: {found.rows_out:,} rows are landed now, {found.quarantined:,} are still set aside"
    )
    click.echo(f"next: cdp run --from standardise --date {job.date}, then the days after it")


def _job(conf_dir, env, lake, drops, exports, text):
    from cdp_spark import job as jobs
    from cdp_spark.cli import day

    return jobs.start(conf_dir, env, day(text), lake=lake, drops=drops or lake, exports=exports).step("quarantine")
