"""One name and type for each thing, and every identifier of every subject."""

from cdp_spark.job import Job
from cdp_spark.runner import main
from cdp_spark.silver.build import build


def run(job: Job) -> None:
    build(job)


if __name__ == "__main__":
    main(run)
