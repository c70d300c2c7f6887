"""What each customer is worth in the coming year."""

from cdp_spark.audiences.build import profiled
from cdp_spark.job import Job
from cdp_spark.runner import main
from ml.models.clv import value_due


def run(job: Job) -> None:
    value_due(job, permitted=profiled(job))


if __name__ == "__main__":
    main(run)
