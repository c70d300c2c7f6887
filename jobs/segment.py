"""Which kinds of customers there are: RFM tiers and clusters."""

from cdp_spark.audiences.build import profiled
from cdp_spark.job import Job
from cdp_spark.runner import main
from ml.models.segments import segment_due


def run(job: Job) -> None:
    segment_due(job, permitted=profiled(job))


if __name__ == "__main__":
    main(run)
