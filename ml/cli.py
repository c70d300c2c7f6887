"""What can a data scientist do from a shell? `cdp model`: fit, evaluate, clv and lift on flat tables; the registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

EPILOG = "Exit codes: 0 done, 2 wrong use or file, 3 refused (the reasons are printed)."


class Refused(Exception):
    """A gate refused the table. Exit code 3."""

    exit_code = 3


@click.group()
def model() -> None:
    """Models: fit and judge them on flat tables, look after the champions."""


def with_table(command: Callable) -> Callable:
    options = [
        click.option("--table", required=True, help=".csv, .csv.gz or .parquet; separator and types are found out"),
        click.option("--json", "as_json", is_flag=True, help="the whole report, for programs"),
        click.option("--models", default="build/models", show_default=True, help="folder the models lie in"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@model.command(epilog=EPILOG)
@click.argument("name")
@with_table
@click.option("--label", required=True, help="column to predict: Yes/No, TRUE/FALSE, 1/0 or two other values")
@click.option("--positive", help="the label's value that counts as 1 (default: yes, true, 1 ..., else the rarer)")
@click.option("--id", "person", help="column that names the person; never learned from, keeps a person in one fold")
@click.option("--time", help="date or number column: the newest fifth is judged apart; never learned from")
@click.option("--in-time-order", is_flag=True, help="the rows stand in order of time: instead of --time")
@click.option(
    "--availability", help="YAML/JSON/CSV `column: before|after`; '*' for all others. What is not before is refused"
)
@click.option("--treatment", help="column of a randomised treatment: fits who is moved by it, instead of who is likely")
@click.option("--control", help="the treatment's value of who got none (default: no ..., control, 0, false)")
@click.option("--exclude", multiple=True, help="column to leave out; may be repeated")
@click.option("--sensitive", multiple=True, help="column to leave out and to report by; may be repeated")
@click.option(
    "--allow", multiple=True, help="column that no leak gate may refuse ('time': the time gate); may be repeated"
)
@click.option("--drop-leaks", is_flag=True, help="go on without the columns that the gates flag")
@click.option("--least", default=100, show_default=True, help="positives, and negatives, that are needed")
@click.option("--repeats", type=click.IntRange(1, 100), help="of the 5 folds (default: 10, fewer on large tables)")
@click.option("--seed", default=42, show_default=True)
def fit(name, table, as_json, models, label, person, treatment, control, availability, **rest) -> None:
    """Fit NAME on a flat table with gates, folds and reports; kept unless refused.

    NAME is a shipped model (churn, propensity): its estimator; or any name: boosted trees.
    """
    from ml.files import needs, read_availability, read_table
    from ml.flat import Asked, fitted
    from ml.learn import estimator
    from ml.store import save

    frame = read_table(table)
    roles = [label, person, rest["time"], treatment, *rest["exclude"], *rest["sensitive"]]
    needs(frame, roles, table)
    known = read_availability(availability, list(frame.columns)) if availability else None
    asked = Asked(label=label, id=person, availability=known, **rest)
    if treatment:
        from ml.uplift import reported

        finish(reported(name, frame, asked, treatment, control, estimator(name)), as_json)
        return
    kept = fitted(name, frame, asked, estimator(name))
    if kept.model is not None:
        kept.report["saved"] = str(save(kept, models))
    finish(kept.report, as_json)


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
    if without := report.get("without_flagged"):
        lines.append(f"  without these columns: ROC-AUC {without['roc_auc']:.3f}, PR-AUC {without['pr_auc']:.3f}")
    lines.append("  --drop-leaks goes on without flagged columns; --allow COLUMN vouches for one")
    return "\n".join(lines)


@model.command(epilog=EPILOG)
@click.argument("name")
@with_table
@click.option("--scores", help="CSV file to write: the id column (where the fit named one) and the score of each row")
def evaluate(name, table, as_json, models, scores) -> None:
    """Score a held-out table with the fitted model NAME; judge it where the label is there."""
    from ml.files import read_table
    from ml.flat import evaluated, scored
    from ml.store import load

    kept = load(name, models)
    frame = read_table(table)
    report = evaluated(kept, frame)
    if scores:
        named = [kept.asked.id] if kept.asked.id in frame.columns else []
        frame[named].assign(score=scored(kept, frame)).to_csv(scores, index=not named, index_label="row")
    show(report, as_json)


@model.command(epilog=EPILOG)
@click.option("--transactions", required=True, help=".csv, .csv.gz or .parquet: one row an order or order line")
@click.option("--until", required=True, help="last day that is learned from, YYYY-MM-DD; later rows are the holdout")
@click.option("--customer", help="column (default: customer_id, customer, household_id, user_id, id ...)")
@click.option("--date", "day", help="column (default: date, order_date, invoicedate, event_time ...)")
@click.option("--amount", help="column (default: amount, dollar_value, value, price, sales ...); none: counts alone")
@click.option("--unit-days", default=7.0, show_default=True, help="days in one unit of time of alpha; 7 is a week")
@click.option("--horizon", default=273, show_default=True, help="days ahead where the file has no later rows")
@click.option("--out", help="CSV file to write: customer, p_alive, expected purchases, value and CLV over the horizon")
@click.option("--json", "as_json", is_flag=True, help="the whole report, for programs")
def clv(transactions, until, customer, day, amount, unit_days, horizon, out, as_json) -> None:
    """Customer lifetime value: BG/NBD and Gamma-Gamma, judged on the rows after --until."""
    from ml.files import read_table
    from ml.transactions import orders, predictions, reported

    found = orders(read_table(transactions), customer, day, amount, until)
    report, models = reported(found, until, unit_days, horizon)
    if out:
        predictions(found, models, until, unit_days, report["horizon_days"]).to_csv(out)
    show(report, as_json)


@model.command(epilog=EPILOG)
@click.option("--table", required=True, help=".csv, .csv.gz or .parquet, one row a person")
@click.option("--arm", required=True, help="column of the randomised arm")
@click.option(
    "--outcome", "outcomes", required=True, multiple=True, help="0/1, Yes/No or number column; may be repeated"
)
@click.option("--control", help="the arm that got nothing (default: no ..., control, 0; else the first by name)")
@click.option("--json", "as_json", is_flag=True, help="the whole report, for programs")
def lift(table, arm, outcomes, control, as_json) -> None:
    """Effect of each arm of an experiment, with intervals, and whether the split can be trusted."""
    from ml.files import needs, read_table
    from ml.table import outcome
    from ml.uplift import lift as measured

    frame = read_table(table)
    needs(frame, [arm, *outcomes], table)
    show(measured(frame, arm, list(outcomes), control, outcome), as_json)


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


def registry(conf_dir: str, env: str, lake: str | None) -> Any:
    """The deployment's registry, without Spark."""
    from cdp_spark.config.load import load
    from cdp_spark.job import mlflow_place, place
    from ml.tracking import Registry

    conf = load(conf_dir, env)
    try:
        uri, artifacts = mlflow_place(conf, env, place("lake", lake or conf.env.lake))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return Registry(uri, artifacts, conf.base.name)


def known_model(name: str) -> str:
    """`name`, if a model of that name is shipped. Raises click.BadParameter otherwise."""
    from ml.spec import shipped

    if name not in shipped():
        raise click.BadParameter(f"no model {name!r}. Known: {', '.join(sorted(shipped()))}")
    return name


@model.command("list")
@with_registry
@click.option("--json", "as_json", is_flag=True, help="for programs")
def list_versions(conf_dir, env, lake, as_json) -> None:
    """Every model's versions, with champion, challenger and what the gate said."""
    from ml.spec import shipped

    models = registry(conf_dir, env, lake)
    found = {name: models.versions(name) for name in sorted(shipped())}
    show(found, as_json)


@model.command()
@click.argument("name")
@click.argument("version")
@with_registry
@click.option("--ungated", is_flag=True, help="though the gate has not passed it, or has never seen it")
def promote(name, version, conf_dir, env, lake, ungated) -> None:
    """Make VERSION the champion of NAME: what the next run scores with."""
    registry(conf_dir, env, lake).promote(known_model(name), version, ungated)
    click.echo(f"{name}: version {version} is champion")


@model.command()
@click.argument("name")
@with_registry
def rollback(name, conf_dir, env, lake) -> None:
    """Make the champion before the present one champion again."""
    click.echo(f"{name}: version {registry(conf_dir, env, lake).rollback(known_model(name))} is champion again")


def show(report: dict, as_json: bool) -> None:
    """The report: all of it as JSON, or the figures that matter as lines."""
    if as_json:
        click.echo(json.dumps(report, indent=1))
        return
    for key, value in report.items():
        for line in _lines(key, value):
            click.echo(line)


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
