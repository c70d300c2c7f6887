"""Why records are one person, and whether the identity graph is well."""

from cdp_spark.identity.explain import evidence, person_links
from cdp_spark.identity.health import health
from cdp_spark.job import Job
from cdp_spark.runner import main


def run(job: Job) -> None:
    lake = job.lake
    edges, refused, members = (lake.read(f"identity.{name}") for name in ("edges", "violations", "members"))
    current = members.where("valid_to IS NULL").select("subject_key", "person_id")
    lake.write("identity.evidence", evidence(person_links(edges, refused, current, lake.read("identity.matches"))))
    why, told = lake.read("identity.evidence"), lake.read("identity.changes")
    found = health(members, edges, refused, told, why, lake.read("silver.identifiers"), job.as_of)
    lake.write("identity.health", found, on=job.as_of)


if __name__ == "__main__":
    main(run)
