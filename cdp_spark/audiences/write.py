"""How do members get into the lake? Through one writer, which asks for permission itself."""

from __future__ import annotations

from cdp_spark.audiences.build import Built, permission
from cdp_spark.audiences.members import changed, members
from cdp_spark.gold.people import heirs
from cdp_spark.governance.consent import permitted
from cdp_spark.job import Job


def write(job: Job, built: Built) -> None:
    """Members, what changed of them, and funnels of the run. Whoever may not be addressed at run_at is not in."""
    if built.members is None:
        job.log("no audience is declared")
        return
    state = permission(job, [audience.purpose for audience in job.conf.audiences.values()])
    now = members(permitted(built.members, state), job.lake.read("activation.members"), job.as_of).persist()
    small = [row["audience"] for row in built.funnels.where("outcome = 'min_size' AND people > 0").collect()]
    past, people = job.lake.read("activation.changes"), heirs(job.lake.read("identity.members"))
    job.lake.write("activation.members", now)
    told = changed(now, built.outcomes, past, people, small, job.as_of)
    job.lake.write("activation.changes", told, on=job.as_of)
    job.lake.write("activation.funnels", built.funnels, on=job.as_of)
    now.unpersist()
