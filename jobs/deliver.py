"""Members to destinations, as immutable deliveries."""

from cdp_spark.activation.deliver import deliver_all
from cdp_spark.job import Job
from cdp_spark.runner import main


def run(job: Job) -> list[dict]:
    return deliver_all(job)


if __name__ == "__main__":
    main(run)
