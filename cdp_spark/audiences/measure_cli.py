"""What can a shell ask about the effect of what was sent? `cdp measure ...`."""

from __future__ import annotations

import json

import click

from cdp_spark.audiences.measure import KPIS
from cdp_spark.look import opened, with_options


@click.group()
def measure() -> None:
    """Effects: the treated beside the held out."""


@measure.command("lift")
@click.argument("audience")
@click.option("--kpi", default="spend", show_default=True, type=click.Choice(sorted(KPIS)))
@click.option("--days", default=30, show_default=True, type=click.IntRange(min=1), help="days after entering")
@with_options
def lift_command(audience, kpi, days, root, conf_dir, env, text, as_json) -> None:
    """Treatment against holdout of AUDIENCE on a KPI, with a 95 % interval and a check of the split."""
    from cdp_spark.audiences.measure import lift
    from cdp_spark.config.load import unknown

    job = opened(root, conf_dir, env, text)
    if audience not in job.conf.audiences:
        raise click.ClickException(unknown("measure lift", "audience", audience, job.conf.audiences))
    found = lift(job, audience, kpi, days)
    if as_json:
        parts = {"ratio": found.ratio._asdict(), "effect": found.effect._asdict()}
        click.echo(json.dumps(found._asdict() | parts, indent=1))
        return
    one = found.effect
    if found.ratio.verdict == "warn":
        click.echo(f"WARNING: the arms are not as big as planned (p = {found.ratio.p:.2g}): be careful with the effect")
    click.echo(f"{audience}: {kpi} within {days} days of entering")
    click.echo(f"  treatment {one.n:>8,} people  mean {one.mean:.4f}")
    click.echo(f"  holdout   {one.control_n:>8,} people  mean {one.control_mean:.4f}")
    click.echo(f"  difference {one.difference:+.4f}  95 % interval {one.low:+.4f} to {one.high:+.4f}  p = {one.p:.3g}")
    if found.mixed:
        click.echo(f"  left out: {found.mixed} people whose records were in both arms")
