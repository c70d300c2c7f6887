"""Who may be addressed for which purpose, and why the others may not."""

from cdp_spark.audiences.build import build
from cdp_spark.audiences.members import members
from cdp_spark.job import Job
from cdp_spark.runner import main


def run(job: Job) -> None:
    built = build(job)
    if built.members is None:
        job.log("no audience is declared")
        return
    now = members(built.members, job.lake.read("activation.members"), job.as_of)
    job.lake.write("activation.members", now)
    job.lake.write("activation.funnels", built.funnels, on=job.as_of)


if __name__ == "__main__":
    main(run)
