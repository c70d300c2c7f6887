"""Which products are recommended to whom."""

from cdp_spark.audiences.build import profiled
from cdp_spark.job import Job
from cdp_spark.runner import main
from ml.models.recommend import recommend_due


def run(job: Job) -> None:
    recommend_due(job, permitted=profiled(job))


if __name__ == "__main__":
    main(run)
