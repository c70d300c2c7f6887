"""What can a shell ask about audiences and where they went? `cdp audience ...`."""

from __future__ import annotations

import json

import click

from cdp_spark.look import opened, with_options


@click.group()
def audience() -> None:
    """Audiences and destinations: before, after, and whether a receiver holds what was sent."""


def _known(what: str, name: str, known) -> None:
    from cdp_spark.config.load import unknown

    if name not in known:
        raise click.ClickException(unknown("cdp audience", what, name, known))


@audience.command("preview")
@click.argument("name")
@with_options
def preview_command(name, root, conf_dir, env, text, as_json) -> None:
    """Size, funnel and profile of the audience NAME as it would be now; writes nothing."""
    from cdp_spark.audiences.preview import preview

    job = opened(root, conf_dir, env, text)
    _known("audience", name, job.conf.audiences)
    found = preview(job, name)
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for outcome, people in found["funnel"].items():
        click.echo(f"{outcome:<12} {people:>10,}")
    click.echo(f"\n{'mean of':<28} {'members':>12} {'everyone':>12}")
    for row in found["profile"][:15]:
        click.echo(f"{row['column']:<28} {row['members']:>12,.2f} {row['everyone']:>12,.2f}")


@audience.command("changes")
@click.argument("name")
@with_options
def changes_command(name, root, conf_dir, env, text, as_json) -> None:
    """How many entered and exited the audience NAME on each day, and why; never who."""
    from pyspark.sql import functions as F

    job = opened(root, conf_dir, env, text)
    _known("audience", name, job.conf.audiences)
    mine = (F.col("audience") == name) & (F.col("as_of") <= F.lit(job.as_of))
    found = (
        job.lake.read("activation.changes")
        .where(mine)
        .groupBy("as_of", "change", "reason")
        .count()
        .orderBy("as_of", "change", "reason")
        .collect()
    )
    if as_json:
        click.echo(json.dumps([row.asDict() for row in found], indent=1, default=str))
        return
    for row in found:
        click.echo(f"{row['as_of']}  {row['change']:<8} {row['reason']:<12} {row['count']:>10,}")


@audience.command("journey")
@click.argument("name")
@with_options
def journey_command(name, root, conf_dir, env, text, as_json) -> None:
    """How many stand where on the journey NAME, why others left, and what it did on which day; never who."""
    from cdp_spark.audiences.act import standings

    job = opened(root, conf_dir, env, text)
    _known("journey", name, job.conf.journeys)
    found = standings(job, name)
    if as_json:
        click.echo(json.dumps(found, indent=1, default=str))
        return
    for row in found["people"]:
        click.echo(f"{row['step'] or 'left: ' + row['reason']:<28} {row['people']:>10,}")
    for row in found["actions"]:
        click.echo(f"{row['as_of']}  {row['step']:<16} {row['action']:<24} {row['people']:>10,}")


@audience.command("reconcile")
@click.argument("destination")
@click.option("--receiver", required=True, help="what the receiver holds: CSV, JSON lines or Parquet")
@with_options
def reconcile_command(destination, receiver, root, conf_dir, env, text, as_json) -> None:
    """Compare what a receiver holds with what was sent to DESTINATION, by audience; ends with 1 where they differ."""
    from cdp_spark.activation.drift import reconciled

    job = opened(root, conf_dir, env, text)
    _known("destination", destination, job.conf.destinations)
    found = reconciled(job, destination, receiver)
    if as_json:
        click.echo(json.dumps(found, indent=1))
    rows = [(name, unit, row) for name, units in found.items() for unit, row in units.items()]
    for name, unit, row in () if as_json else rows:
        counts = f"{row['held']:,} held, {row['missing']:,} missing there, {row['unexpected']:,} unexpected"
        click.echo(f"{name}, {unit}: {counts}")
    if any(row["missing"] or row["unexpected"] for _, _, row in rows):
        raise click.exceptions.Exit(1)


@audience.command("policy")
@click.option("--exports", required=True, help="root of the deliveries: s3://bucket/prefix")
@click.option("--reader", is_flag=True, help="for who fetches the deliveries, not for who makes them")
@click.option("--kms-key", help="ARN of the key that objects are encrypted with (s3.kms_key)")
def policy_command(exports: str, reader: bool, kms_key: str | None) -> None:
    """The least that AWS IAM must allow for deliveries below a place, as a policy document."""
    from cdp_spark.activation.policy import policy

    click.echo(json.dumps(policy(exports, reader=reader, kms_key=kms_key), indent=1))
