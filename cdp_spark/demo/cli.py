"""What can a shell ask of the generated retailer?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from cdp_spark.config.load import SHIPPED


@click.group()
def demo() -> None:
    """A retailer made of nothing: drops of ten sources in CSV, JSON lines and Parquet, and the truth beside them."""


@demo.command()
@click.option("--people", default=5000, show_default=True, type=click.IntRange(min=50))
@click.option("--days", default=2, show_default=True, type=click.IntRange(min=1))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="gets drops/ and truth/")
@click.option("--seed", default=7, show_default=True)
def data(people: int, days: int, out: Path, seed: int) -> None:
    """Write the drops and the truth; the same seed gives the same bytes. Prints rows a source and day."""
    from cdp_spark.demo.retailer import generate

    try:
        click.echo(json.dumps(generate(out, people, days, seed), indent=1))
    except OSError as error:
        raise click.UsageError(f"--out {out}: cannot be written ({error.strerror})") from None


@demo.command("run")
@click.option("--out", default="build/demo", show_default=True, help="folder for drops, truth, lake and exports")
@click.option("--people", default=5000, show_default=True, type=click.IntRange(min=50))
@click.option("--days", default=1, show_default=True, type=click.IntRange(min=1), help="days to land, one run each")
@click.option("--seed", default=7, show_default=True)
@click.option("--conf", "conf_dir", default=str(SHIPPED), help="the deployment (default: the shipped one)")
def demo_run(out: str, people: int, days: int, seed: int, conf_dir: str) -> None:
    """Generate a retailer and run every step on it, then compare the people found with the truth."""
    from cdp_spark.demo.show import cleared, show

    cleared(Path(out))
    show(Path(out), people, days, seed, conf_dir)
