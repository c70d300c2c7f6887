"""What can be asked about identity from a shell? `cdp identity ...`."""

from __future__ import annotations

import json
import tempfile

import click


@click.group()
def identity() -> None:
    """Who is who: judge, explain and watch the identity graph of a lake."""


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
        told = judge.read_labels(truth)  # before Spark starts: a wrong name shows at once
        members = current_members(root, conf_dir, env)
        labels, other = judge.of_sources(told, members)
        if other:
            click.echo(f"rows of the truth that belong to sources outside the lake, left out: {other}", err=True)
        found = judge.evaluate(members, labels)
    except judge.TruthError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        click.echo(f"{name:<28} {value:>14,}")


@identity.command("run")
@click.option("--conf", "conf_dir", required=True, help="a folder with sources/*.yml and identity.yml")
@click.option("--in", "drops", required=True, help="where the sources' files lie")
@click.option("--lake", required=True, help="root of the tables")
@click.option("--env", default="local", show_default=True, help="a name in conf/env")
@click.option("--date", "text", help="the day the files are of, YYYY-MM-DD (default: today)")
@click.option("--truth", help="CSV or Parquet with source, record_id, entity_id: judges the people found")
@click.pass_context
def run_files(ctx, conf_dir, drops, lake, env, text, truth) -> None:
    """Find out who is who in a folder of files, and why: land, standardise, match, resolve. Nothing else is needed.

    Households too, where identity.yml has rules for them.
    """
    from dataclasses import replace
    from datetime import UTC, datetime
    from pathlib import Path

    from cdp_spark import job as jobs
    from cdp_spark.cli import day
    from cdp_spark.pipeline import between
    from cdp_spark.runner import finished, refuse_future, refuse_rewind, run_steps

    when = day(text) if text else datetime.now(UTC).date()
    if "://" not in drops and not (Path(drops).is_dir() and any(Path(drops).iterdir())):
        raise click.ClickException(
            f"--in {drops}: no such folder, or nothing lies in it; the sources' files belong there"
        )
    if truth and "://" not in truth and not Path(truth).is_file():
        raise click.ClickException(f"--truth {truth}: no such file; expected CSV or Parquet with record_id, entity_id")
    job = jobs.start(conf_dir, env, when, lake=lake, drops=drops)
    refuse_future(job, when)
    refuse_rewind(job, when)
    # whoever types this looks at what it tells; steps of a schedule stop where changed rules change too much
    job = replace(job, accepted=not job.conf.identity.plan.required)
    together = between("profile", "households") if job.conf.identity.households.rules else []
    # with `health`, as `cdp identity explain` and `cdp identity health` are what is asked next
    steps = [*between("ingest", "resolve"), *together, *between("health", "health")]
    finished(job, run_steps(job, steps))
    if truth:
        ctx.invoke(evaluate, root=lake, truth=truth, conf_dir=conf_dir, env=env, as_json=False)


@identity.command()
@click.option("--conf", "conf_dir", required=True, help="the deployment")
@click.option("--lake", "root", required=True, help="root of the tables, after a run with matching")
@click.option("--truth", help="CSV or Parquet with source, record_id, entity_id: pair completeness a rule")
@click.option("--env", default="local", show_default=True, help="a name in conf/env")
def blocking(conf_dir: str, root: str, truth: str | None, env: str) -> None:
    """What each blocking rule proposes: pairs, values too common to use and, with a truth, the true pairs."""
    from cdp_spark.identity.evaluate import TruthError, read_labels
    from cdp_spark.identity.matching.reach import reach

    tables, conf = lake_of(root, conf_dir, env)
    if not tables.exists("identity.blocking"):
        raise click.ClickException(f"{root} has no identity.blocking: run `cdp identity run` with matching enabled")
    try:
        found = reach(tables, conf, read_labels(truth) if truth else None)
    except TruthError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{'rule':<44} {'pairs':>10} {'too common':>10} {'largest':>8} {'true pairs':>10} {'share':>7}")
    for row in found:
        seen = f"{row['true_pairs']:>10,} {row['share']:>7.4f}" if truth else ""
        click.echo(f"{row['rule']:<44} {row['pairs']:>10,} {row['refused_keys']:>10,} {row['largest']:>8,} {seen}")


@identity.command()
@click.argument("one", metavar="ID")
@click.argument("two", metavar="[ID2]", required=False)
@click.option("--lake", "root", required=True, help="root of the tables")
@click.option("--conf", "conf_dir", help="the deployment (default: the shipped conf/)")
@click.option("--env", default="local", show_default=True, help="a name in conf/env")
@click.option("--show-values", is_flag=True, help="identifiers in full: personal data on your screen")
@click.option("--plot", "file", help="draw it too, to a file that ends in .svg, .png or .pdf")
def explain(one: str, two: str | None, root: str, conf_dir: str | None, env: str, show_values: bool, file: str | None):
    """Why is this one person? ID: a person id, one that was merged away, or a record (source|record).

    With ID2, a second record: the path of evidence between the two. A BRIDGE is a link without which the person would
    fall apart.
    """
    from cdp_spark.identity import ask, tree

    found = ask.explained(opened(root, conf_dir, env)[0], one, two)
    lines = tree.lines(found.rows, found.keys, show_values)
    title = f"{found.person_id}: {len(found.rows)} links, {int(found.rows['bridge'].sum())} of them bridges"
    click.echo("\n".join([*found.told, title, tree.text(lines)]))
    if file:
        try:
            tree.plot(lines, title, file)
        except (ValueError, OSError) as error:
            raise click.ClickException(str(error)) from None


@identity.command()
@click.option("--lake", "root", required=True, help="root of the tables")
@click.option("--conf", "conf_dir", help="the deployment (default: the shipped conf/)")
@click.option("--env", default="local", show_default=True, help="a name in conf/env")
@click.option("--json", "as_json", is_flag=True, help="for programs: every run")
@click.option("--html", "file", type=click.Path(dir_okay=False), help="write a page with plots over all runs")
def health(root: str, conf_dir: str | None, env: str, as_json: bool, file: str | None) -> None:
    """How the identity graph is: people, sizes, changes, coverage, hubs, bridges, values to look at (by hash)."""
    from pathlib import Path

    from cdp_spark.identity import ask
    from cdp_spark.identity.page import page

    rows = ask.measures(opened(root, conf_dir, env)[0])
    if file:
        Path(file).write_text(page(rows), encoding="utf-8")
    if as_json:
        click.echo(rows.assign(as_of=rows["as_of"].astype(str)).to_json(orient="records", indent=1))
        return
    newest = rows[rows["as_of"] == rows["as_of"].max()]
    click.echo(f"as of {newest['as_of'].iloc[0]}")
    for row in newest.itertuples():
        click.echo(f"{row.metric:<20} {row.member:<36} {row.value:>14,.4g}")


def lake_of(root: str, conf_dir: str | None, env: str):
    """(the tables under `root`, the deployment)."""
    from cdp_spark import session
    from cdp_spark.config.load import SHIPPED, load
    from cdp_spark.job import needs_s3, place
    from cdp_spark.lake import Lake

    conf, uri = load(conf_dir or SHIPPED, env), place("lake", root)
    # Spark's own warehouse would otherwise appear as a folder where the command is called
    quiet = {"spark.sql.warehouse.dir": tempfile.mkdtemp(prefix="cdp-")}
    return Lake(session.build(conf.env, s3=needs_s3(conf, uri), settings=quiet), uri, conf.tables), conf


def opened(root: str, conf_dir: str | None, env: str):
    """(Lake, Conf) of the tables at `root`. Raises click.ClickException where they hold no identity.members."""
    tables, conf = lake_of(root, conf_dir, env)
    if not tables.exists("identity.members"):
        raise click.ClickException(f"{root} has no identity.members: run the step `resolve` first")
    return tables, conf


def current_members(root: str, conf_dir: str | None, env: str):
    """(source, record_id, person_id) of the keys that are somebody's today, in pandas."""
    from cdp_spark.identity.state import published

    members = published(opened(root, conf_dir, env)[0], "identity.members").where("valid_to IS NULL")
    return members.select("source", "record_id", "person_id").toPandas()


@identity.command()
@click.argument("person_id")
@click.option("--at", "text", help="a day, YYYY-MM-DD (default: today's people)")
@click.option("--lake", "root", required=True, help="root of the tables")
@click.option("--conf", "conf_dir", help="the deployment (default: the shipped conf/)")
@click.option("--env", default="local", show_default=True, help="a name in conf/env")
def resolve(person_id: str, text: str | None, root: str, conf_dir: str | None, env: str) -> None:
    """What a person id, also one that has ended, is called today or on a day: one id a line."""
    from cdp_spark.cli import day
    from cdp_spark.identity.past import resolve_id
    from cdp_spark.identity.state import published

    at = day(text) if text else None
    lake, _ = opened(root, conf_dir, env)
    for found in resolve_id(published(lake, "identity.members"), person_id, at):
        click.echo(found)


@identity.command()
@click.option("--conf", "conf_dir", required=True, help="the deployment with the new rules")
@click.option("--env", default="local", show_default=True, help="a name in conf/env")
@click.option("--lake", "root", required=True, help="root of the tables")
@click.option("--out", help="a file for the plan as JSON; it is always left in the lake as well")
def plan(conf_dir: str, env: str, root: str, out: str | None) -> None:
    """What would the rules of --conf change? Prints it, touches no table; exit code 5: beyond conf's thresholds."""
    from pathlib import Path

    from cdp_spark.identity import plan as plans

    lake, conf = opened(root, conf_dir, env)
    found = plans.planned(lake, conf)
    if out:
        Path(out).write_text(json.dumps(found, indent=1), encoding="utf-8")
    click.echo(json.dumps(found, indent=1))
    if found["beyond"]:
        raise plans.BeyondError("beyond the thresholds of `plan:` in identity.yml: " + "; ".join(found["beyond"]))


@identity.command()
@click.option("--conf", "conf_dir", required=True, help="the deployment with the new rules, as it was planned")
@click.option("--env", default="local", show_default=True, help="a name in conf/env")
@click.option("--lake", "root", required=True, help="root of the tables")
@click.option("--force", is_flag=True, help="commit a plan that is old or beyond its thresholds; needs the next two")
@click.option("--author", default="", help="who speaks for it; kept in identity.runs")
@click.option("--reason", default="", help="and why")
def apply(conf_dir: str, env: str, root: str, force: bool, author: str, reason: str) -> None:
    """Commit what `cdp identity plan` told of the rules of --conf; exit code 5: the plan is old or goes too far."""
    from datetime import UTC, datetime

    from cdp_spark import job as jobs
    from cdp_spark.identity.apply import apply as commit
    from cdp_spark.runner import finished

    job = jobs.start(conf_dir, env, datetime.now(UTC).date(), lake=root, drops=root)
    if not job.lake.exists("identity.members"):
        raise click.ClickException(f"{root} has no identity.members: run the step `resolve` first")
    finished(*commit(job, author, reason, force=force))
