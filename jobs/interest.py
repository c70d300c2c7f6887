"""In which category each customer may buy next."""

from cdp_spark.audiences.build import profiled
from cdp_spark.job import Job
from cdp_spark.runner import main
from ml.models.interests import interest_due


def run(job: Job) -> None:
    interest_due(job, permitted=profiled(job))


if __name__ == "__main__":
    main(run)
