"""On whom do the journeys of a deployment act in this run? Reads what decides, writes what is decided."""

from __future__ import annotations

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from cdp_spark.audiences.build import contacted, lists_of, permission, wide, with_new
from cdp_spark.audiences.journeys import STATE, carried, entered, moved
from cdp_spark.audiences.limits import capped, suppressed
from cdp_spark.audiences.offers import RANKED, offered, ranked
from cdp_spark.gold.people import with_person
from cdp_spark.governance.consent import consented, permitted
from cdp_spark.job import Job

HAPPENED = "map<string,date>"
SENT = "struct<journey:string,step:string,action:string,expected_value:double>"


def build(job: Job) -> DataFrame | None:
    """Rows of `moved` for every journey of the deployment, with consent_id; None where there is none."""
    if not job.conf.journeys:
        return None
    read, day = job.lake.read, job.as_of
    inside = read("activation.members").where("left IS NULL AND arm = 'treatment'").select("audience", "person_id")
    before = carried(_before(job), read("identity.members"))
    # Cut from their long plans: what follows adds a projection a step, and each would be planned over all of them.
    people = entered(before, inside, job.conf.journeys, day).localCheckpoint()
    may = _may(job, people).localCheckpoint()
    rows = moved(_with_facts(job, people, inside, may), job.conf.journeys, day)
    return rows.join(may.drop("may"), ["journey", "person_id"], "left").localCheckpoint()


def write(job: Job, rows: DataFrame | None) -> None:
    """Where everybody stands, and the actions of the run. Nobody is acted on who may not be addressed at run_at."""
    if rows is None:
        job.log("no journey is declared")
        return
    day = F.lit(job.as_of).alias("as_of")
    job.lake.write("activation.journeys", rows.select(day, *STATE), on=job.as_of)
    named = F.sha2(F.concat_ws("|", "journey", "at", "person_id", "entered"), 256).substr(1, 32).alias("action_id")
    columns = ("person_id", "journey", "action", "to", "expected_value", "purpose", "consent_id")
    acted = rows.where("at IS NOT NULL").withColumn("purpose", _purpose(job))
    acted = permitted(acted, permission(job, _purposes(job))).select(day, *columns, F.col("at").alias("step"), named)
    job.lake.write("activation.actions", acted, on=job.as_of)
    today = F.lit(job.as_of)
    counts = rows.groupBy("journey").agg(
        F.count_if(F.col("entered") == today).alias("entered"),
        F.count("step").alias("on it"),
        F.count("at").alias("acted on"),
        F.count_if((F.col("since") == today) & F.col("step").isNull()).alias("left"),
    )
    for row in counts.orderBy("journey").collect():
        job.log(f"{row['journey']}: " + ", ".join(f"{row[name]} {name}" for name in counts.columns[1:]))


def standings(job: Job, name: str) -> dict[str, list[dict]]:
    """{"people": [{step, reason, people}], "actions": [{as_of, step, action, people}]} of a journey up to the run."""
    mine = (F.col("journey") == name) & (F.col("as_of") <= F.lit(job.as_of))
    rows = job.lake.read("activation.journeys").where(mine)
    newest = rows.agg(F.max("as_of").alias("day")).first()["day"]
    people = rows.where(F.col("as_of") == F.lit(newest)).groupBy("step", "reason").agg(F.count("*").alias("people"))
    acted = job.lake.read("activation.actions").where(mine).groupBy("as_of", "step", "action")
    acted = acted.agg(F.count("*").alias("people")).orderBy("as_of", "step", "action")
    return {"people": [row.asDict() for row in people.orderBy("step", "reason").collect()],
            "actions": [row.asDict() for row in acted.collect()]}  # fmt: skip


def _before(job: Job) -> DataFrame:
    """Where everybody stood after the run before this day's: a second run of the day starts there again."""
    rows = job.lake.read("activation.journeys").where(F.col("as_of") < F.lit(job.as_of))
    newest = rows.agg(F.max("as_of").alias("day")).first()["day"]
    return rows.where(F.col("as_of") == F.lit(newest)) if newest else rows.limit(0)


def _purposes(job: Job) -> list[str]:
    return [journey.purpose for journey in job.conf.journeys.values()]


def _purpose(job: Job) -> Column:
    parts = [F.lit(part) for name, journey in job.conf.journeys.items() for part in (name, journey.purpose)]
    return F.create_map(*parts)[F.col("journey")]


def _may(job: Job, people: DataFrame) -> DataFrame:
    """journey, person_id, consent_id, may (true) of who says yes to the journey's purpose and is on no list."""
    begun = {name: job.conf.audiences[journey.audience] for name, journey in job.conf.journeys.items()}
    state = permission(job, _purposes(job), lists_of(begun.values()))
    yes = []
    for name, journey in job.conf.journeys.items():
        mine = consented(people.where(F.col("journey") == name), state, purpose=journey.purpose)
        lists = begun[name].exclude.suppression
        yes.append(mine.join(suppressed(state, lists), "person_id", "left_anti") if lists else mine)
    rows = reduce(DataFrame.unionByName, yes)
    return rows.select("journey", "person_id", "consent_id", F.lit(True).alias("may"))


def _with_facts(job: Job, people: DataFrame, inside: DataFrame, may: DataFrame) -> DataFrame:
    """`people` (STATE) with FACTS of `moved`."""
    journeys = job.conf.journeys
    audience = F.create_map(*(F.lit(part) for name, j in journeys.items() for part in (name, j.audience)))
    mine = inside.select("audience", "person_id", F.lit(True).alias("inside")).distinct()
    rows = people.withColumn("audience", audience[F.col("journey")]).join(mine, ["audience", "person_id"], "left")
    rows = rows.join(may.drop("consent_id"), ["journey", "person_id"], "left")
    rows = rows.join(_capped(job), ["journey", "person_id"], "left").join(_happened(job, people), "person_id", "left")
    rows = rows.join(_offers(job, people), ["journey", "person_id"], "left").join(_sent(job), "person_id", "left")
    yes = {name: F.coalesce(name, F.lit(False)) for name in ("may", "inside", "capped")}
    nothing = {"happened": F.create_map().cast(HAPPENED), "offers": F.array().cast(RANKED)}
    return rows.drop("audience").withColumns(yes | {name: F.coalesce(name, none) for name, none in nothing.items()})


def _capped(job: Job) -> DataFrame:
    """journey, person_id, capped (true) of who has heard enough for a journey."""
    capping = {name: journey.caps for name, journey in job.conf.journeys.items() if journey.caps}
    if not capping:
        return job.spark.createDataFrame([], "journey string, person_id string, capped boolean")
    said = with_new(job, contacted(job))
    found = [capped(said, caps, job.date).select(F.lit(name).alias("journey"), "person_id", F.lit(True).alias("capped"))
             for name, caps in capping.items()]  # fmt: skip
    return reduce(DataFrame.unionByName, found)


def _happened(job: Job, people: DataFrame) -> DataFrame:
    """person_id, happened: "<journey>.<step>" of each branch -> date of the newest event that fulfils it."""
    branches = [(f"{name}.{key}", step) for name, journey in job.conf.journeys.items()
                for key, step in journey.steps.items() if step.branch]  # fmt: skip
    if not branches:
        return job.spark.createDataFrame([], f"person_id string, happened {HAPPENED}")
    walking = people.where("step IS NOT NULL")
    oldest = walking.agg(F.min(F.coalesce("acted", "entered")).alias("day")).first()["day"] or job.as_of
    begin, end = (F.lit(day).cast("timestamp") for day in (oldest, job.as_of))
    seen = (F.col("event_time") >= begin) & (F.col("event_time") < end) & (F.col("known_at") < end) & ~F.col("deleted")
    found = []
    for name, step in branches:
        rows = job.lake.read(step.branch).where(seen).where(step.where).select("subject_key", "event_time")
        rows = with_person(rows, job.lake.read("identity.members"))
        found.append(rows.groupBy("person_id").agg(F.to_date(F.max("event_time")).alias("on"))
                     .select("person_id", F.lit(name).alias("branch"), "on"))  # fmt: skip
    pairs = F.map_from_entries(F.collect_list(F.struct("branch", "on")))
    return reduce(DataFrame.unionByName, found).groupBy("person_id").agg(pairs.alias("happened"))


def _offers(job: Job, people: DataFrame) -> DataFrame:
    """journey, person_id, offers as of `ranked`, of who stands on a journey that offers something."""
    offering = {name: journey for name, journey in job.conf.journeys.items()
                if any(step.offer for step in journey.steps.values())}  # fmt: skip
    before = offered(job.lake.read("activation.actions"), job.as_of)
    found = []
    for name, journey in offering.items():
        mine = people.where((F.col("journey") == name) & F.col("step").isNotNull()).select("journey", "person_id")
        rows = mine.join(wide(job, journey.scores_max_age_days), "person_id").join(before, "person_id", "left")
        found.append(rows.select("journey", "person_id", ranked(job.conf.offers, job.as_of).alias("offers")))
    if not found:
        return job.spark.createDataFrame([], f"journey string, person_id string, offers {RANKED}")
    return reduce(DataFrame.unionByName, found)


def _sent(job: Job) -> DataFrame:
    """person_id, sent: the action that already left in an earlier try of this day."""
    day = job.lake.read("activation.deliveries").where(F.col("date") == F.lit(job.date))
    today = day.select("destination", "delivery_id").distinct()
    left = job.lake.read("activation.sent").where("op = 'add'").join(today, ["destination", "delivery_id"])
    ids = [left.where(F.col("destination") == name).select(F.col("values")[spec.units[0][0]].alias("action_id"))
           for name, spec in job.conf.destinations.items() if spec.journeys]  # fmt: skip
    if not ids:
        return job.spark.createDataFrame([], f"person_id string, sent {SENT}")
    actions = job.lake.read("activation.actions").where(F.col("as_of") == F.lit(job.as_of))
    stands = actions.join(reduce(DataFrame.unionByName, ids).distinct(), "action_id")
    return stands.select("person_id", F.struct("journey", "step", "action", "expected_value").alias("sent"))
