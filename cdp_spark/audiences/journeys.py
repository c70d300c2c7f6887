"""Where does everybody stand on their journeys, and on whom does today act? Decided from what is known of them alone.

A run moves each person down the steps of a journey: over waits that are over and branches, until they rest, act or
leave. Steps only lead down, so one pass over them in the order of the file moves everybody as far as they get. On one
day one action is taken on a person, over all journeys; who has acted rests until the next day.
"""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from cdp_spark.audiences.offers import best
from cdp_spark.config.journeys import Journey
from cdp_spark.gold.people import heir

STATE = ("journey", "person_id", "entered", "step", "since", "acted", "reason")
FACTS = ("may", "inside", "capped", "happened", "offers", "sent")


def carried(previous: DataFrame, members: DataFrame) -> DataFrame:
    """Rows of activation.journeys (STATE) of the day before under the ids of now: one a journey and person.

    Who was merged goes on under the new id; of two who are one person now, the one still on the journey stays, else
    the one who entered first. Of a split person the part that kept the id goes on. Erased people drop out.
    """
    rows = previous.join(heir(members), "person_id").withColumn("person_id", F.col("now"))
    order = (F.col("step").isNull(), "entered", F.desc("since"), "step", "acted", "reason")
    first = Window.partitionBy("journey", "person_id").orderBy(*order)
    return rows.withColumn("_n", F.row_number().over(first)).where("_n = 1").select(*STATE)


def entered(before: DataFrame, inside: DataFrame, journeys: dict[str, Journey], day: date) -> DataFrame:
    """`before` (STATE) with who enters on `day`: one row per journey and person.

    inside: audience, person_id of the treated members of today. Who left enters again after `again_after_days`, and
    at once who only left for want of permission before anything was done.
    """
    found = []
    for name, journey in journeys.items():
        here = before.where(F.col("journey") == name)
        fit = F.col("_since").isNull() | ((F.col("_reason") == "permission") & F.col("_acted").isNull())
        if journey.again_after_days:
            over = F.date_add("_since", journey.again_after_days) <= F.lit(day)
            fit = fit | (F.col("_step").isNull() & over)
        known = here.select("person_id", *(F.col(c).alias(f"_{c}") for c in ("since", "step", "reason", "acted")))
        people = inside.where(F.col("audience") == journey.audience).select("person_id").distinct()
        new = people.join(known, "person_id", "left").where(fit).select("person_id")
        begin = {"journey": F.lit(name), "entered": F.lit(day), "step": F.lit(journey.first), "since": F.lit(day)}
        begin |= {"acted": F.lit(None).cast("date"), "reason": F.lit(None).cast("string")}
        found += [here.join(new, "person_id", "left_anti").select(*STATE), new.withColumns(begin).select(*STATE)]
    rest = found[0]
    for more in found[1:]:
        rest = rest.unionByName(more)
    return rest


def moved(people: DataFrame, journeys: dict[str, Journey], day: date) -> DataFrame:
    """`people` after `day`: STATE, and of whom is acted on at (step), action (its name), to, expected_value; else null.

    people: STATE and FACTS, one row a journey and person. may: says yes to the journey's purpose. inside: is in its
    audience. capped: has heard enough. happened: map of "<journey>.<step>" of branches -> date of the newest event.
    offers: as of `ranked`. sent: null, or struct of journey, step, action and expected_value that left already today,
    in an earlier try of the same day: it stands, and is the only one.  expected_value: null for a message.
    """
    rows = people
    for name, journey in journeys.items():
        rows = _passed(_left(rows, name, journey, day), name, journey, day)
    wishes = rows.withColumn("_wish", _wish(journeys))
    rank = F.create_map(*(F.lit(part) for name, j in journeys.items() for part in (name, j.priority)))
    order = Window.partitionBy("person_id").orderBy(F.col("_wish").isNull(), rank[F.col("journey")], "journey")
    granted = wishes.withColumn("_acts", F.col("_wish").isNotNull() & (F.row_number().over(order) == 1))
    below = {(name, step): journey.below(step) for name, journey in journeys.items() for step in journey.steps}
    following = _by_step({at: F.lit(step) for at, step in below.items() if step}).cast("string")
    acts, today = F.col("_acts"), F.lit(day)
    return granted.select(
        "journey",
        "person_id",
        "entered",
        F.when(acts, following).otherwise(F.col("step")).alias("step"),
        F.when(acts, today).otherwise(F.col("since")).alias("since"),
        F.when(acts, today).otherwise(F.col("acted")).alias("acted"),
        F.when(acts & following.isNull(), "done").otherwise(F.col("reason")).alias("reason"),
        F.when(acts, F.col("step")).alias("at"),
        *(F.when(acts, F.col("_wish")[part]).alias(part) for part in ("action", "to", "expected_value")),
    )


def _at(journey: str, step: str) -> Column:
    return (F.col("journey") == journey) & (F.col("step") == step)


def _by_step(found: dict[tuple[str, str], Column]) -> Column:
    """The column of the step that a row stands at; null where `found` has none."""
    ways = [F.when(_at(*at), col) for at, col in found.items()]
    return F.coalesce(*ways) if ways else F.lit(None)


def _left(rows: DataFrame, name: str, journey: Journey, day: date) -> DataFrame:
    """Out is who says no to the purpose, had to stay in the audience and is not, or whose step is no longer there."""
    why = F.when(~F.col("may"), "permission").when(~F.col("step").isin(*journey.steps), "step_gone")
    if journey.stay_in_audience:
        why = why.when(~F.col("inside"), "audience")
    why = F.when((F.col("journey") == name) & F.col("step").isNotNull(), why)
    out = why.isNotNull()
    return rows.withColumns({
        "step": F.when(~out, F.col("step")),
        "since": F.when(out, F.lit(day)).otherwise(F.col("since")),
        "reason": F.coalesce(why, F.col("reason")),
    })  # fmt: skip


def _passed(rows: DataFrame, name: str, journey: Journey, day: date) -> DataFrame:
    """One pass down the steps: over waits that are over, branches, offers that nobody is eligible for, and out."""
    for key, step in journey.steps.items():
        below, over = F.lit(journey.below(key)).cast("string"), F.lit(True)
        if step.wait:
            over = F.date_add("since", step.wait.days) <= F.lit(day)
        elif step.offer:
            standing = _standing(name, key)
            over = best(F.col("offers"), step.offer).isNull() & ~standing
        elif step.send:
            continue
        elif step.branch:
            since = F.coalesce("acted", "entered")
            yes = F.coalesce(F.col("happened")[f"{name}.{key}"] >= since, F.lit(False))
            below = F.when(yes, step.then).otherwise(F.lit(step.otherwise).cast("string") if step.otherwise else below)
        elif step.leave:
            below = F.lit(None).cast("string")
        goes = _at(name, key) & over
        why = F.when(goes & below.isNull(), step.leave or "done")
        rows = rows.withColumns({
            "step": F.when(goes, below).otherwise(F.col("step")),
            "since": F.when(goes, F.lit(day)).otherwise(F.col("since")),
            "reason": F.coalesce(why, F.col("reason")),
        })  # fmt: skip
    return rows


def _standing(name: str, key: str) -> Column:
    """Whether what left today in an earlier try was this step's."""
    same = (F.col("sent.journey") == name) & (F.col("sent.step") == key) & (F.col("journey") == name)
    return F.coalesce(same, F.lit(False))


def _struct(action: Column, to: str | None, value: Column) -> Column:
    return F.struct(action.alias("action"), F.lit(to).alias("to"), value.alias("expected_value"))


def _wish(journeys: dict[str, Journey]) -> Column:
    """Struct of action, to and value that a row's step asks for; null where it asks for nothing or may not."""
    found = {}
    for name, journey in journeys.items():
        for key, step in journey.steps.items():
            if not step.acts:
                continue
            offer = best(F.col("offers"), step.offer) if step.offer else None
            action = F.lit(step.send) if offer is None else offer["offer"]
            value = F.lit(None).cast("double") if offer is None else -offer["loss"]
            free = F.col("sent").isNull() & ~F.col("capped") & action.isNotNull()
            stands = _struct(F.col("sent.action"), step.to, F.col("sent.expected_value"))
            found[name, key] = F.when(_standing(name, key), stands).when(free, _struct(action, step.to, value))
    return _by_step(found)
