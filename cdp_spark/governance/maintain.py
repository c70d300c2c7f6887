"""How do tables stay fast and small? Small files joined, rows ordered as queries filter, old versions gone."""

from __future__ import annotations

from datetime import timedelta

from cdp_spark.governance.publish import OWN, table_names
from cdp_spark.job import Job
from cdp_spark.lake import QUARANTINE

RECENT = timedelta(days=8)  # a week between two runs, and a day of overlap


def maintain(job: Job) -> None:
    """Every table of the deployment, one after another; content and published versions of keep_versions_days stay.

    Bad rows are forgotten after quarantine_days. Delta keeps its statistics of each file with every write.
    """
    names = [name for name in (*table_names(job), *OWN) if job.lake.exists(name)]
    if QUARANTINE in names:
        job.lake.forget(QUARANTINE, job.date - timedelta(days=job.conf.base.quarantine_days))
    for name in names:
        job.lake.optimize(name, since=job.date - RECENT)
        job.lake.vacuum(name, job.conf.base.keep_versions_days)
    job.log(f"{len(names)} tables compacted; versions older than {job.conf.base.keep_versions_days} days are gone")
