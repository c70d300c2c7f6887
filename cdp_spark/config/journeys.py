"""What is a journey, and what may be offered on it? Models of conf/journeys and conf/offers.yml."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from cdp_spark.config.activation import Cap, Quiet
from cdp_spark.config.contract import Duration, Name, Strict


def sql(value: Any) -> Any:
    """A number is the SQL expression that it looks like."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Sql = Annotated[str, BeforeValidator(sql)]
VERBS = ("send", "offer", "wait", "branch", "leave")


class Offer(Strict):
    """Something a person may be offered, worth score x value - cost to the deployment (in its currency).

    score: probability that it is taken and would not be without. All four are SQL over what an audience's condition
    may read. Eligible is whom `where` holds for, whose expected value is known and above 0, and to whom it was not
    offered in the last `rest_days` days.
    """

    description: str
    score: Sql
    value: Sql
    cost: Sql = "0"
    where: Sql = "true"
    rest_days: int = Field(30, ge=0, le=3650)


class JourneyStep(Strict):
    """One of five things. All but leave and a branch's `then` go on to the step below, the last one out.

    send: a message, by its name, `to` a destination.  offer: names of offers of which the eligible one with the
    highest expected value goes `to` a destination; who is eligible for none goes on.  wait: whole days.
    branch: `then` for whom the silver table has a row with `where` since the last action, or since they entered where
    there was none; `otherwise` for the rest. Both may only lead down.  leave: out, with this reason.
    """

    send: Name | None = None
    offer: tuple[str, ...] = ()
    to: str | None = None
    wait: Duration | None = None
    branch: str | None = None
    where: str = "true"
    then: str | None = None
    otherwise: str | None = None
    leave: Name | None = None

    @model_validator(mode="after")
    def does_one_thing(self) -> JourneyStep:
        if sum(bool(getattr(self, verb)) for verb in VERBS) != 1:
            raise ValueError(f"a step does exactly one of {', '.join(VERBS)}")
        if self.acts != (self.to is not None):
            raise ValueError("`to: <destination>` goes with send and offer, and only with them")
        if (self.branch is not None) != (self.then is not None):
            raise ValueError("a branch names where `then` leads to, and only a branch does")
        if self.branch is None and (self.otherwise or self.where != "true"):
            raise ValueError("`where` and `otherwise` go with branch, and only with it")
        if self.wait and (self.wait.total_seconds() % 86_400 or not self.wait.days):
            raise ValueError("wait is in whole days, such as '3 days': a run moves people once a day")
        return self

    @property
    def acts(self) -> bool:
        return bool(self.send or self.offer)


class Journey(Strict):
    """A sequence that acts on the treated members of an audience, one step after another, judged anew each run.

    purpose: what every action is for; whoever says no to it leaves.
    again_after_days: who left may enter again after so many days; null: nobody enters twice.
    stay_in_audience: who is no longer in the audience leaves.
    priority: of journeys that want to act on a person on one day the smallest goes first; the others try again.
    deliver_within_days: an action that could not be delivered for longer is not delivered any more.
    """

    description: str
    owner: str
    purpose: str
    audience: str
    again_after_days: int | None = Field(None, ge=1, le=3650)
    stay_in_audience: bool = False
    priority: int = 100
    caps: tuple[Cap, ...] = ()
    quiet_hours: Quiet | None = None
    scores_max_age_days: int = Field(7, ge=0, le=3650)
    deliver_within_days: int = Field(2, ge=1, le=3650)
    steps: dict[Name, JourneyStep] = Field(min_length=1)

    @property
    def first(self) -> str:
        return next(iter(self.steps))

    def below(self, name: str) -> str | None:
        """The step after `name` in the file; None after the last."""
        names = list(self.steps)
        return dict(zip(names, names[1:], strict=False)).get(name)

    def after(self, name: str) -> set[str]:
        """Steps that `name` may lead to."""
        step = self.steps[name]
        if step.leave:
            return set()
        ways = {step.then, step.otherwise or self.below(name)} if step.branch else {self.below(name)}
        return {way for way in ways if way}
