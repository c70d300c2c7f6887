"""What was known of each person before the run's cut-off."""

from cdp_spark.gold.features import features, inputs
from cdp_spark.job import Job
from cdp_spark.runner import main


def run(job: Job) -> None:
    known = inputs(job)
    found = features(known.frames, job.conf.features, [job.as_of], known.people, known.households)
    job.lake.write("gold.features", found, on=job.as_of)


if __name__ == "__main__":
    main(run)
