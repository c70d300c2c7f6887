"""Numbers to report, and the marketing-mix feed."""

from cdp_spark.gold.kpis import kpis, mmm_weekly
from cdp_spark.gold.people import with_person
from cdp_spark.job import Job
from cdp_spark.runner import main


def run(job: Job) -> None:
    lake = job.lake
    members = lake.read("identity.members")
    orders = with_person(lake.read("silver.orders"), members)
    events = with_person(lake.read("silver.events"), members)
    lake.write("gold.kpis", kpis(orders, events, job.as_of), on=job.as_of)
    feed = mmm_weekly(lake.read("silver.spend"), orders, lake.read("gold.profiles"), job.conf.base.region, job.as_of)
    lake.write("gold.mmm_weekly", feed, on=job.as_of)


if __name__ == "__main__":
    main(run)
