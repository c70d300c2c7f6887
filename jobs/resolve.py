"""Link records that share identifiers and give each person a lasting id."""

from cdp_spark.identity.resolve import resolve
from cdp_spark.job import Job
from cdp_spark.runner import main


def run(job: Job) -> None:
    resolve(job)


if __name__ == "__main__":
    main(run)
