"""Who may be addressed for which purpose, and why the others may not."""

from cdp_spark.audiences.build import build
from cdp_spark.audiences.write import write
from cdp_spark.job import Job
from cdp_spark.runner import main


def run(job: Job) -> None:
    write(job, build(job))


if __name__ == "__main__":
    main(run)
