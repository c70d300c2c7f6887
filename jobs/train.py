"""Fit each model that is due on past snapshots; what beats its baseline becomes champion."""

from cdp_spark.audiences.build import profiled
from cdp_spark.job import Job
from cdp_spark.runner import main
from ml.train import train_due


def run(job: Job) -> None:
    train_due(job, permitted=profiled(job))


if __name__ == "__main__":
    main(run)
