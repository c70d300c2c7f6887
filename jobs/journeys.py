"""Where everybody stands on their journeys, and on whom they act today."""

from cdp_spark.audiences.act import build, write
from cdp_spark.job import Job
from cdp_spark.runner import main


def run(job: Job) -> None:
    write(job, build(job))


if __name__ == "__main__":
    main(run)
