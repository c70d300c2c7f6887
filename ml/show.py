"""How is a report told? As lines for people, as JSON for programs; a refused one with its reasons."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import click


class Refused(Exception):
    """A gate refused the table. Exit code 3."""

    exit_code = 3


def as_report(command: Callable) -> Callable:
    """The command, whose every end with exit code 3 is a report too where --json asks for one.

    status: refused, with the reasons; failed where the error is none that we know.
    """

    @wraps(command)
    def telling(*, as_json: bool, **given: Any) -> None:
        try:
            command(as_json=as_json, **given)
        except (Refused, click.ClickException, click.Abort):  # shown already, or wrong use
            raise
        except Exception as error:
            if as_json and getattr(error, "exit_code", 3) == 3:
                show(ended(given.get("name", command.__name__), error), as_json)
            raise

    return telling


def ended(model: str, error: Exception) -> dict:
    """The report of what ended in an error, in the words that stderr has."""
    from cdp_spark.cli import answer

    status = "refused" if hasattr(error, "exit_code") else "failed"
    return {"model": model, "status": status, "reasons": [answer(error)[0]]}


def finish(report: dict, as_json: bool) -> None:
    """Show a report. Raises Refused for one that a gate refused; as JSON it is shown before."""
    if report["status"] != "refused":
        show(report, as_json)
        return
    if as_json:
        show(report, as_json)
    raise Refused(refusal(report))


def refusal(report: dict) -> str:
    """Why a model was refused, and what can be done, in words."""
    lines = [f"{report['model']}: refused, nothing was kept", *(f"  {reason}" for reason in report["reasons"])]
    lines += [f"  {report['earlier']}"] if "earlier" in report else []
    if without := report.get("without_flagged"):
        lines.append(f"  without these columns: ROC-AUC {without['roc_auc']:.3f}, PR-AUC {without['pr_auc']:.3f}")
    if any(leak["column"] for leak in report.get("leaks", [])):
        lines.append("  --drop-leaks goes on without flagged columns; --allow COLUMN vouches for one")
    return "\n".join(lines)


def show(report: dict, as_json: bool) -> None:
    """The report: all of it as JSON, or the figures that matter as lines."""
    if as_json:
        click.echo(json.dumps(plain(report), indent=1, allow_nan=False))
        return
    for key, value in report.items():
        for line in _lines(key, value):
            click.echo(line)


def plain(value: Any) -> Any:
    """`value` for JSON, which knows neither NaN nor infinity: they become null."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(key: str, value: Any) -> list[str]:
    if isinstance(value, float):
        return [f"{key:<22} {value:.4g}"]
    if isinstance(value, dict):
        flat = {name: one for name, one in value.items() if not isinstance(one, (dict, list))}
        parts = [f"{name} {one:.4g}" if isinstance(one, float) else f"{name} {one}" for name, one in flat.items()]
        nested = [
            line for name, one in value.items() if isinstance(one, (dict, list)) for line in _lines(f"  {name}", one)
        ]
        return [f"{key:<22} {', '.join(parts)}", *nested] if parts else [f"{key:<22}", *nested] if nested else []
    if isinstance(value, list) and all(isinstance(one, float) for one in value):
        return [f"{key:<22} {' to '.join(f'{one:.4g}' for one in value)}"] if value else []
    if isinstance(value, list):
        return [f"{key:<22} {_short(one)}" for one in value]
    return [f"{key:<22} {value}"]


def _short(one: Any) -> str:
    if not isinstance(one, dict):
        return f"{one:.4g}" if isinstance(one, float) else str(one)
    return ", ".join(
        f"{name} {item:.4g}" if isinstance(item, float) else f"{name} {item}" for name, item in one.items()
    )
