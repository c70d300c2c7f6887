"""What can be done with models from a shell? `cdp model`: flat tables, and the registry of a deployment."""

from __future__ import annotations

import click

from ml.flat_cli import clv, evaluate, fit, lift
from ml.registry_cli import list_versions, promote, rollback


@click.group()
def model() -> None:
    """Models: fit and judge them on flat tables, look after the champions."""


for command in (fit, evaluate, clv, lift, list_versions, promote, rollback):
    model.add_command(command)
