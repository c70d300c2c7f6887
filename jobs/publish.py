"""Pin the versions that belong together: the last thing a run does."""

from cdp_spark.governance.publish import publish
from cdp_spark.job import Job
from cdp_spark.runner import main


def run(job: Job) -> None:
    publish(job)


if __name__ == "__main__":
    main(run)
