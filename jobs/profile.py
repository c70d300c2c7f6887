"""One golden record a person."""

from cdp_spark.gold.profiles import profiles
from cdp_spark.job import Job
from cdp_spark.runner import main


def run(job: Job) -> None:
    lake = job.lake
    priority = {name: source.priority for name, source in job.conf.sources.items()}
    found = profiles(
        lake.read("silver.customers"), lake.read("silver.identifiers"), lake.read("identity.members"), priority
    )
    written = lake.write("gold.profiles", found)
    job.log(f"{written.rows} people")


if __name__ == "__main__":
    main(run)
