"""Who are the champions of a deployment, and who shall be? `cdp model list | promote | rollback`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ml.show import show

NOTHING = "nothing was kept yet; ml.trainings tells why, where a training was tried"


def with_registry(command: Callable) -> Callable:
    """Options that name a deployment's registry; `models` is given to the command."""
    options = [
        click.option("--conf", "conf_dir", required=True, help="the deployment: a folder like the shipped conf/"),
        click.option("--env", default="local", show_default=True, help="a name in conf/env"),
        click.option("--lake", help="root of the tables (default: the environment's)"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def opened(conf_dir: str, env: str, lake: str | None) -> tuple[Any, dict[str, bool]]:
    """(the deployment's registry, its models as `registered` tells them), without Spark."""
    from cdp_spark.config.load import load
    from cdp_spark.job import mlflow_place, place
    from ml.spec import registered
    from ml.tracking import Registry

    conf = load(conf_dir, env)
    try:
        uri, artifacts = mlflow_place(conf, env, place("lake", lake or conf.env.lake))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return Registry(uri, artifacts, conf.base.name, conf.env.s3), registered(conf)


def chosen(name: str, known: dict[str, bool]) -> str:
    """`name`, if its champion can be chosen. Raises click.BadParameter for another one, or for no model at all."""
    if name not in known:
        raise click.BadParameter(f"no model {name!r}. Known: {', '.join(known)}")
    if not known[name]:
        can = ", ".join(one for one, scores in known.items() if scores)
        raise click.BadParameter(
            f"{name} is fitted anew for each week's rows: no earlier version scores, so none is chosen. "
            f"Models with a champion that scores: {can}"
        )
    return name


@click.command("list")
@with_registry
@click.option("--json", "as_json", is_flag=True, help="for programs")
def list_versions(conf_dir, env, lake, as_json) -> None:
    """Every model's versions, with champion, challenger and what the gate said."""
    models, known = opened(conf_dir, env, lake)
    found = {name: models.versions(name) for name in known}
    show(found if as_json else {name: versions or [NOTHING] for name, versions in found.items()}, as_json)


@click.command()
@click.argument("name")
@click.argument("version")
@with_registry
@click.option("--ungated", is_flag=True, help="though the gate has not passed it, or has never seen it")
def promote(name, version, conf_dir, env, lake, ungated) -> None:
    """Make VERSION the champion of NAME: what the next run scores with."""
    models, known = opened(conf_dir, env, lake)
    models.promote(chosen(name, known), version, ungated)
    click.echo(f"{name}: version {version} is champion")


@click.command()
@click.argument("name")
@with_registry
def rollback(name, conf_dir, env, lake) -> None:
    """Make the champion before the present one champion again."""
    models, known = opened(conf_dir, env, lake)
    click.echo(f"{name}: version {models.rollback(chosen(name, known))} is champion again")
