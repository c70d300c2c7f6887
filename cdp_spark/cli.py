"""What can be done from a shell? The `cdp` command; each area brings its own words, loaded only when they are used."""

from __future__ import annotations

import json
import os
import sys
import traceback
from datetime import date
from importlib import import_module

import click

from cdp_spark.say import say

AREAS = {
    "run": "cdp_spark.runner:run_command",
    "watch": "cdp_spark.watch:watch",
    "unlock": "cdp_spark.unlock:unlock_command",
    "demo": "cdp_spark.demo.cli:demo",
    "quarantine": "cdp_spark.sources.cli:quarantine",
    "identity": "cdp_spark.identity.cli:identity",
    "model": "ml.cli:model",
    "health": "cdp_spark.governance.health:health",
    "lineage": "cdp_spark.governance.lineage:lineage",
    "consent": "cdp_spark.governance.cli:consent",
    "audience": "cdp_spark.audiences.cli:audience",
    "measure": "cdp_spark.audiences.measure_cli:measure",
}


class Areas(click.Group):
    """A group whose areas are imported when they are asked for: `cdp check` must not wait for Spark's imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *AREAS})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in AREAS:
            return super().get_command(ctx, name)
        module, _, attribute = AREAS[name].partition(":")
        return getattr(import_module(module), attribute)


@click.group(cls=Areas, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=None, version="0.1.0", prog_name="cdp")
def cdp() -> None:
    """A customer data platform on your own Spark: sources to Delta, people, models, consented audiences."""


@cdp.command()
@click.option("--json", "as_json", is_flag=True, help="for programs")
def steps(as_json: bool) -> None:
    """The table of steps: what each reads and writes."""
    from cdp_spark.pipeline import STEPS, upstream

    if as_json:
        click.echo(json.dumps([step._asdict() | {"upstream": upstream(step)} for step in STEPS], indent=1))
        return
    for step in STEPS:
        click.echo(f"{step.name:<12} {step.about}")
        click.echo(f"{'':<12}   reads  {', '.join(step.reads) or '-'}")
        click.echo(f"{'':<12}   writes {', '.join(step.writes)}")


@cdp.command()
@click.option("--conf", "conf_dir", required=True, help="the deployment: a folder like the shipped conf/")
@click.option("--env", default="local", show_default=True, help="a name in conf/env")
def check(conf_dir: str, env: str) -> None:
    """Validate a deployment as a whole, without Spark."""
    from cdp_spark.config.load import load

    conf = load(conf_dir, env)
    parts = ("sources", "features", "purposes", "audiences", "destinations", "tables")
    click.echo("sound: " + ", ".join(f"{len(getattr(conf, part))} {part}" for part in parts))


def day(text: str) -> date:
    """A date given as YYYY-MM-DD. Raises click.BadParameter otherwise."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a date such as 2026-01-31") from None


def main() -> int:
    """Entry point: whatever goes wrong ends in one message and its exit code, not in a stack trace."""
    try:
        ended = cdp(standalone_mode=False)  # an int where a command ended with click's Exit
    except click.ClickException as error:
        error.show()
        return 2
    except click.Abort:
        click.echo("stopped", err=True)
        return 130
    except Exception as error:
        return told(error)
    return ended if isinstance(ended, int) else 0


def told(error: Exception) -> int:
    """Tell what went wrong, with its trace where CDP_TRACE asks for it; the exit code."""
    message, code = answer(error)
    if os.environ.get("CDP_TRACE"):
        traceback.print_exception(error)
    say(message, "error")
    return code


def answer(error: Exception) -> tuple[str, int]:
    """(message, exit code) of an error: our own classes speak for themselves, of all others only the kind is told."""
    from cdp_spark.config.load import ConfError
    from cdp_spark.jars import JarError

    if isinstance(error, ConfError):
        return f"{len(error.problems)} problem(s) in the configuration:\n{error}", 2
    if isinstance(error, JarError):
        return str(error), 2
    if hasattr(error, "exit_code"):
        return str(error), error.exit_code
    from cdp_spark.failures import unexpected  # brings Spark's imports: `cdp check` must not wait for them

    return unexpected(error), 3


if __name__ == "__main__":
    sys.exit(main())
