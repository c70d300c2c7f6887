"""Whom an audience's treatment moves, where its holdout tells."""

from cdp_spark.audiences.build import profiled
from cdp_spark.job import Job
from cdp_spark.runner import main
from ml.models.uplift import effect_due


def run(job: Job) -> None:
    effect_due(job, permitted=profiled(job))


if __name__ == "__main__":
    main(run)
