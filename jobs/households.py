"""Who lives together: people who share an address, a phone or a device."""

from cdp_spark.identity.households import households
from cdp_spark.identity.persons import as_known_before
from cdp_spark.job import Job
from cdp_spark.runner import main


def run(job: Job) -> None:
    lake = job.lake
    before = as_known_before(lake.read("identity.households"), job.as_of)
    identifiers, members = lake.read("silver.identifiers"), lake.read("identity.members")
    found = households(lake.read("gold.profiles"), identifiers, members, before, job.conf.identity, job.as_of)
    written = lake.write("identity.households", found)
    job.log(f"{written.rows} rows of households, ended ones too")


if __name__ == "__main__":
    main(run)
