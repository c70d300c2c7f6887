"""How is a lake given back that a run has left locked? For people, and for the end of every DAG run."""

from __future__ import annotations

from functools import partial

import click

from cdp_spark.lock import unlock
from cdp_spark.runner import PLACES, opened, with_options


@click.command("unlock")
@partial(with_options, options=PLACES[:3])
@click.option("--run-id", required=True, help="the run that holds the lake, as the refusal names it")
def unlock_command(conf_dir, env, lake, run_id) -> None:
    """Let the next run begin where run RUN_ID was stopped or has died; another run's lock stays."""
    click.echo(unlock(opened(conf_dir, env, lake), run_id))
