"""What was made of what? Audit facts of a run as OpenLineage events, to a file or to a server that speaks it."""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path
from typing import Any

import click
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import dataset_version_dataset, output_statistics_output_dataset
from openlineage.client.serde import Serde

from cdp_spark.runner import PLACES, opened, with_options

PRODUCER = "urn:cdp-spark:0.1.0"


def events(audit: list[dict[str, Any]], deployment: str, root: str) -> list[RunEvent]:
    """One COMPLETE event a step of a run, in the order in which steps ended.

    audit: rows of governance.audit. deployment: namespace of the jobs; root: namespace of the tables (OpenLineage's
    naming: the place, then the name within it). A step's run id is made from the run's, so sending twice is the same.
    """
    steps: dict[tuple[str, str], list[dict]] = {}
    for row in sorted(audit, key=lambda row: (row["committed_at"], row["table_name"])):
        steps.setdefault((row["run_id"], row["step"]), []).append(row)
    found = [_event(run_id, step, rows, deployment, root) for (run_id, step), rows in steps.items()]
    return sorted(found, key=lambda event: (event.eventTime, event.job.name))


def _event(run_id: str, step: str, rows: list[dict], deployment: str, root: str) -> RunEvent:
    written = {row["table_name"]: row for row in rows}
    read = {name: version for row in rows for name, version in row["reads"].items() if name not in written}
    return RunEvent(
        eventType=RunState.COMPLETE,
        eventTime=f"{rows[-1]['committed_at'].isoformat()}Z",
        producer=PRODUCER,
        run=Run(runId=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{run_id}/{step}"))),
        job=Job(namespace=deployment, name=step),
        inputs=[InputDataset(namespace=root, name=name, facets=_version(read[name])) for name in sorted(read)],
        outputs=[
            OutputDataset(
                namespace=root,
                name=name,
                facets=_version(row["version"]),
                outputFacets={
                    "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                        rowCount=row["rows"]
                    )
                },
            )
            for name, row in sorted(written.items())
        ],
    )


def _version(version: int) -> dict:
    return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=str(version))}


def emit(found: list[RunEvent], to: str) -> None:
    """One JSON line an event into the file `to`, or a POST each to the server at http(s)://. Raises OSError."""
    if not to.startswith(("http://", "https://")):
        Path(to).write_text("".join(f"{Serde.to_json(event)}\n" for event in found))
        return
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    client = OpenLineageClient(transport=HttpTransport(HttpConfig(url=to)))
    for event in found:
        client.emit(event)


@click.command("lineage")
@partial(with_options, options=PLACES)
@click.option("--run", "run_id", help="a run of governance.runs (default: the newest)")
@click.option("--to", required=True, help="a file, or the http(s) address of an OpenLineage server")
def lineage(conf_dir, env, lake, drops, exports, run_id, to) -> None:
    """Tell what was made of what, as OpenLineage events."""
    job = opened(conf_dir, env, lake, drops, exports)
    audit = job.lake.read("governance.audit")
    if run_id is None:
        newest = audit.orderBy("committed_at", ascending=False).select("run_id").first()
        run_id = newest["run_id"] if newest else ""
    rows = [row.asDict() for row in audit.where(audit.run_id == run_id).collect()]  # a row a write: tens
    if not rows:
        raise click.ClickException(f"no write of run {run_id!r} is in governance.audit; has it been published?")
    emit(events(rows, job.conf.base.name, job.lake.root), to)
    click.echo(f"{len(rows)} writes of run {run_id}: {to}")
