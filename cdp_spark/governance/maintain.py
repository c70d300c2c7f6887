"""How do tables stay fast and small? Small files joined, rows ordered as queries filter, old versions gone."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from pyspark.sql import functions as F

from cdp_spark.governance.publish import OWN, table_names
from cdp_spark.job import Job
from cdp_spark.lake import QUARANTINE

EXAMPLES = "ml.examples"
RECENT = timedelta(days=8)  # a week between two runs, and a day of overlap


def maintain(job: Job, training_sets: Collection[str] | None = None) -> None:
    """Every table of the deployment, one after another; content and published versions of keep_versions_days stay.

    Bad rows are forgotten after quarantine_days, training sets after keep_examples_days but for `training_sets`, whose
    models are in use; None: that is not known, all stay. Delta keeps its statistics of each file with every write.
    """
    names = [name for name in (*table_names(job), *OWN) if job.lake.exists(name)]
    if EXAMPLES in names and training_sets is not None:
        old = F.col("trained_on") < F.lit(job.date - timedelta(days=job.conf.base.keep_examples_days))
        job.lake.remove(EXAMPLES, old & ~F.col("snapshot_id").isin(sorted(training_sets)))
    if QUARANTINE in names:
        job.lake.forget(QUARANTINE, job.date - timedelta(days=job.conf.base.quarantine_days))
    for name in names:
        job.lake.optimize(name, since=job.date - RECENT)
        job.lake.vacuum(name, job.conf.base.keep_versions_days)
    job.log(f"{len(names)} tables compacted; versions older than {job.conf.base.keep_versions_days} days are gone")
