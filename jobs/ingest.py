"""Land the day's drops as they came; rows that break their source's rules go to quarantine with the reason."""

from cdp_spark.job import Job
from cdp_spark.runner import main
from cdp_spark.sources.ingest import land_all


def run(job: Job) -> None:
    land_all(job)


if __name__ == "__main__":
    main(run)
