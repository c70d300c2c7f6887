"""What makes a household? The model of one rule under `households.rules` in conf/identity.yml."""

from __future__ import annotations

from pydantic import Field, model_validator

from cdp_spark.config.contract import Name, Strict


class HouseholdRule(Strict):
    """People who share a value live together: all of `columns` of gold.profiles, or one identifier of `namespace`."""

    columns: tuple[str, ...] = ()
    namespace: Name | None = None
    max_people: int = Field(8, ge=2, description="a value shared by more people forms no household")

    @model_validator(mode="after")
    def one_kind(self) -> HouseholdRule:
        if bool(self.columns) == bool(self.namespace):
            raise ValueError("a household rule has either `columns` of gold.profiles or one `namespace`")
        return self


class Households(Strict):
    """conf/identity.yml, `households`: rules from the strongest to the weakest; without rules there are none."""

    rules: dict[Name, HouseholdRule] = {}
    max_people: int = Field(12, ge=2, description="a larger group falls apart along its weakest rule")
