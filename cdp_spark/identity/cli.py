"""What can be asked about identity from a shell? `cdp identity ...`."""

from __future__ import annotations

import json
import tempfile

import click


@click.group()
def identity() -> None:
    """Who is who: judge the identity graph of a lake."""


@identity.command()
@click.option("--lake", "root", required=True, help="root of the tables")
@click.option("--truth", required=True, help="CSV or Parquet with source, record_id, entity_id")
@click.option("--conf", "conf_dir", help="the deployment (default: the shipped conf/)")
@click.option("--env", default="local", show_default=True, help="a name in conf/env")
@click.option("--json", "as_json", is_flag=True, help="for programs")
def evaluate(root: str, truth: str, conf_dir: str | None, env: str, as_json: bool) -> None:
    """Compare the current members of a lake with a truth. Runs on the driver: bounded by the truth's records."""
    from cdp_spark.identity import evaluate as judge

    try:
        found = judge.evaluate(current_members(root, conf_dir, env), judge.read_labels(truth))
    except (judge.TruthError, OSError) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        click.echo(f"{name:<28} {value:>14,}")


def current_members(root: str, conf_dir: str | None, env: str):
    """(source, record_id, person_id) of the keys that are somebody's today, in pandas.

    Raises click.ClickException where the lake has no identity.members.
    """
    from cdp_spark import session
    from cdp_spark.config.load import SHIPPED, load
    from cdp_spark.job import needs_s3, place
    from cdp_spark.lake import Lake

    conf, uri = load(conf_dir or SHIPPED, env), place("lake", root)
    # Spark's own warehouse would otherwise appear as a folder where the command is called
    quiet = {"spark.sql.warehouse.dir": tempfile.mkdtemp(prefix="cdp-")}
    tables = Lake(session.build(conf.env, s3=needs_s3(conf, uri), settings=quiet), uri, conf.tables)
    if not tables.exists("identity.members"):
        raise click.ClickException(f"{root} has no identity.members: run the step `resolve` first")
    members = tables.read("identity.members").where("valid_to IS NULL")
    return members.select("source", "record_id", "person_id").toPandas()
