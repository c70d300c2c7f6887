"""What can a data scientist do with a flat table from a shell? `cdp model fit | evaluate | clv | lift`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from ml.show import as_report, finish, show

EPILOG = "Exit codes: 0 done, 2 wrong use or file, 3 refused (the reasons are printed)."


SHARES = "planned shares of the arms, such as control=0.1,mail=0.9 (default: equal ones)"
POSITIVE = click.FloatRange(0, min_open=True)
GATES = ("time", "whole")  # what --allow says of the gates that no column belongs to


def plain_name(ctx, param, name: str) -> str:
    """A name that can be a folder's. Raises click.BadParameter otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise click.BadParameter(f"{name!r}: letters, digits, '.', '_' and '-', the first a letter or digit")
    return name


def decision(capacity: float | None, cost: float | None, gain: float | None) -> Any:
    """The rule whom to act on, or None. Raises click.UsageError where the options do not make one."""
    from cdp_spark.config.models import Decision

    if capacity is None and cost is None and gain is None:
        return None
    try:
        return Decision(capacity=capacity, cost=cost, gain=gain)
    except ValueError:
        raise click.UsageError("give --capacity, or --cost and a larger --gain") from None


def apart(treatment: str | None, alone: dict[str, Any], others: list[str | None], given: dict[str, Any]) -> None:
    """Raises click.UsageError for options that say nothing beside --treatment, or nothing without it."""
    if not treatment:
        for name, value in alone.items():
            if value:
                raise click.UsageError(f"{name} is of the arms of --treatment; give both")
        return
    if treatment in others:
        raise click.UsageError(f"{treatment} is the treatment; it cannot be the id or the time as well")
    if useless := [name for name, value in given.items() if value]:
        raise click.UsageError(
            f"{', '.join(useless)}: not with --treatment, which is judged once and by the share that is treated: "
            "--capacity names it"
        )


def with_table(command: Callable) -> Callable:
    options = [
        click.option("--table", required=True, help=".csv, .csv.gz or .parquet; separator and types are found out"),
        click.option("--json", "as_json", is_flag=True, help="the whole report, for programs"),
        click.option("--models", default="build/models", show_default=True, help="folder the models lie in"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command(epilog=EPILOG)
@click.argument("name", callback=plain_name)
@with_table
@click.option("--label", required=True, help="column to predict: Yes/No, TRUE/FALSE, 1/0 or two other values")
@click.option("--positive", help="the label's value that counts as 1 (default: yes, true, 1 ..., else the rarer)")
@click.option("--id", "person", help="column that names the person; never learned from, keeps a person in one fold")
@click.option("--time", help="date or number column: the newest fifth is judged apart; never learned from")
@click.option("--in-time-order", is_flag=True, help="the rows stand in order of time: instead of --time")
@click.option(
    "--availability", help="YAML/JSON/CSV `column: before|after`; '*' for all others. What is not before is refused"
)
@click.option(
    "--treatment",
    help="column of a randomised treatment: judges who is moved by it, in the best --capacity (.3), and keeps no model",
)
@click.option("--control", help="the treatment's value of who got none (default: no ..., control, 0, false)")
@click.option("--shares", help=SHARES)
@click.option("--exclude", multiple=True, help="column to leave out; may be repeated")
@click.option("--sensitive", multiple=True, help="column to leave out and to report by; may be repeated")
@click.option(
    "--allow",
    multiple=True,
    help="column that no leak gate may refuse ('time': the time gate, 'whole': that of the whole model); repeatable",
)
@click.option(
    "--capacity",
    type=click.FloatRange(0, 1, min_open=True),
    help="act on the best share: what it comes to; with --treatment the share that is treated (default .3)",
)
@click.option("--cost", type=POSITIVE, help="of acting on one row; with --gain: act where probability x gain covers it")
@click.option("--gain", type=POSITIVE, help="where the label comes true for who was acted on")
@click.option("--drop-leaks", is_flag=True, help="go on without the columns that the gates flag")
@click.option(
    "--least", type=click.IntRange(1), default=100, show_default=True, help="positives, and negatives, that are needed"
)
@click.option("--repeats", type=click.IntRange(1, 100), help="of the 5 folds (default: 10, fewer on large tables)")
@click.option("--seed", type=click.IntRange(0, 2**31), default=42, show_default=True)
@as_report
def fit(
    name, table, as_json, models, label, person, treatment, control, shares, availability, capacity, cost, gain, **rest
) -> None:
    """Fit NAME on a flat table with gates, folds and reports; kept unless refused.

    NAME is a shipped model (churn, propensity): its estimator; or any name of your own: boosted trees, as stderr says.
    """
    from ml.files import needs, read_availability, read_table
    from ml.flat import Asked, fitted_or_refused
    from ml.learn import estimator, told, unknown
    from ml.split import planned
    from ml.store import outdated, save

    if said := unknown(name, bool(treatment)):
        click.echo(said, err=True)
    frame = read_table(table)
    roles = [person, rest["time"], treatment, *rest["exclude"], *rest["sensitive"], *rest["allow"]]
    needs(frame, [label, *(one for one in roles if one not in GATES)], table)
    if label in roles:
        raise click.UsageError(f"{label} is the label; it cannot be another column as well")
    useless = {"--cost": cost, "--gain": gain, "--repeats": (rest["repeats"] or 1) > 1}
    apart(treatment, {"--control": control, "--shares": shares}, [person, rest["time"]], useless)
    known = read_availability(availability, list(frame.columns)) if availability else None
    asked = Asked(label=label, id=person, availability=known, decision=decision(capacity, cost, gain), **rest)
    if treatment:
        from ml.uplift import reported

        plan = planned(shares) if shares else None
        report = reported(name, frame, asked, treatment, control, estimator(name), plan)
        finish(report | {"estimator": told(name)}, as_json)
        return
    kept = fitted_or_refused(name, frame, asked, estimator(name))
    kept.report["estimator"] = told(name)
    if kept.model is not None:
        kept.report["saved"] = str(save(kept, models))
    elif left := outdated(name, models, kept.report["reasons"]):
        kept.report["earlier"] = left
    for warning in kept.report.get("warnings", []):
        click.echo(f"{name}: {warning}", err=True)
    finish(kept.report, as_json)


@click.command(epilog=EPILOG)
@click.argument("name", callback=plain_name)
@with_table
@click.option("--scores", help="CSV file to write: the id column (where the fit named one) and the score of each row")
@as_report
def evaluate(name, table, as_json, models, scores) -> None:
    """Score a held-out table with the fitted model NAME; judge it where the label is there."""
    from ml.evaluate import evaluated, scored
    from ml.files import read_table, write_table
    from ml.store import load, stale

    kept = load(name, models)
    frame = read_table(table)
    report = evaluated(kept, frame)
    if old := stale(name, models):
        report["notes"].insert(0, old)
        click.echo(old, err=True)
    if scores:
        named = [kept.asked.id] if kept.asked.id in frame.columns else []
        write_table(frame[named].assign(score=scored(kept, frame)), scores, index=None if named else "row")
    show(report, as_json)


@click.command(epilog=EPILOG)
@click.option("--transactions", required=True, help=".csv, .csv.gz or .parquet: one row an order or order line")
@click.option("--until", required=True, help="last day that is learned from, YYYY-MM-DD; later rows are the holdout")
@click.option("--customer", help="column (default: customer_id, customer, household_id, user_id, id ...)")
@click.option("--date", "day", help="column (default: date, order_date, invoicedate, event_time ...)")
@click.option("--amount", help="column (default: amount, dollar_value, value, price, sales ...); none: counts alone")
@click.option(
    "--unit-days",
    type=click.FloatRange(0, min_open=True),
    default=7.0,
    show_default=True,
    help="days in one unit of time of alpha; 7 is a week",
)
@click.option(
    "--horizon",
    type=click.IntRange(1, 36_500),
    help="days to forecast, and to judge where later rows are there (default: all later rows; without any, 273)",
)
@click.option("--out", help="CSV file to write: customer, p_alive, expected purchases, value and CLV over the horizon")
@click.option("--json", "as_json", is_flag=True, help="the whole report, for programs")
@as_report
def clv(transactions, until, customer, day, amount, unit_days, horizon, out, as_json) -> None:
    """Customer lifetime value: BG/NBD and Gamma-Gamma, judged on the rows after --until."""
    from ml.files import read_table, write_table
    from ml.transactions import orders, predictions, reported

    found = orders(read_table(transactions), customer, day, amount, until)
    report, models = reported(found, until, unit_days, horizon)
    if out:
        write_table(predictions(found, models, until, unit_days, report["horizon_days"]), out, index="customer")
    show(report, as_json)


@click.command(epilog=EPILOG)
@click.option("--table", required=True, help=".csv, .csv.gz or .parquet, one row a person")
@click.option("--arm", required=True, help="column of the randomised arm")
@click.option(
    "--outcome", "outcomes", required=True, multiple=True, help="0/1, Yes/No or number column; may be repeated"
)
@click.option("--control", help="the arm that got nothing (default: no ..., control, 0; else the first by name)")
@click.option("--shares", help=SHARES)
@click.option("--json", "as_json", is_flag=True, help="the whole report, for programs")
@as_report
def lift(table, arm, outcomes, control, shares, as_json) -> None:
    """Effect of each arm of an experiment, with intervals, and whether the split can be trusted."""
    from ml.files import needs, read_table
    from ml.labels import outcome
    from ml.split import planned
    from ml.uplift import lift as measured

    frame = read_table(table)
    needs(frame, [arm, *outcomes], table)
    show(measured(frame, arm, list(outcomes), control, outcome, planned(shares) if shares else None), as_json)
