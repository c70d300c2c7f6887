"""Each person's score by the champion of each model."""

from cdp_spark.audiences.build import profiled
from cdp_spark.job import Job
from cdp_spark.runner import main
from ml.score import score_all


def run(job: Job) -> None:
    score_all(job, permitted=profiled(job))


if __name__ == "__main__":
    main(run)
