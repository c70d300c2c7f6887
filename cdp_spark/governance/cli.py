"""What can a shell ask about consent? `cdp consent ...`."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from cdp_spark.look import opened, with_options


@click.group()
def consent() -> None:
    """Consent: who may be addressed for what, and since which word."""


def moment(text: str | None) -> datetime | None:
    """A moment given as 2026-01-31 or 2026-01-31T12:00, in UTC. Raises click.BadParameter otherwise."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a moment such as 2026-01-31T12:00") from None


@consent.command("show")
@click.argument("person")
@click.option("--at", help="judge at this moment (default: now)")
@click.option("--known", help="only what was known by this moment")
@with_options
def show_command(person, at, known, root, conf_dir, env, text, as_json) -> None:
    """Trace PERSON (a person_id, a subject key, or a value of an export row) back to the facts; values are masked."""
    from cdp_spark.governance.trace import persons, trace

    job = opened(root, conf_dir, env, text, run_at=moment(at))
    people = persons(job, person)
    if not people:
        raise click.ClickException("nobody of that name now: give a person_id, a subject key or a value that was sent")
    found = [trace(job, one, moment(known)) for one in people]
    if as_json:
        click.echo(json.dumps(found, indent=1, default=str))
        return
    for one in found:
        _print(one)


def _print(one: dict) -> None:
    click.echo(f"person {one['person_id']}")
    for row in one["purposes"]:
        click.echo(f"  {'yes' if row['granted'] else 'no ':<4} {row['purpose']:<20} {row['basis']}, {row['policy']}; "
                   f"newest fact {row['decided_by'] or '-'}")  # fmt: skip
    for row in one["facts"]:
        stands, where = "stands" if row["stands"] else "", f"{row['source']}|{row['record_id']}"
        about = f"{row['purpose']}/{row['channel']} under {row['namespace']} {row['value']}"
        click.echo(
            f"  {stands:<6} {row['event_time']} {row['status']:<10} {about} ({where}, {row['file'] or 'no file'})"
        )
    for row in one["audiences"]:
        until = f" to {row['left']}" if row["left"] else ""
        click.echo(
            f"  audience {row['audience']} since {row['since']}{until}, {row['arm']}, by {row['consent_id'] or '-'}"
        )
    for row in one["sent"]:
        click.echo(f"  {row['op']:<8} {row['destination']} {row['delivery_id']} ({row['audience']}) {row['sent_at']}")
