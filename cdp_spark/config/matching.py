"""How are records matched that share no identifier? The model of `matching:` in conf/identity.yml."""

from __future__ import annotations

from math import log2
from typing import Literal

from pydantic import Field

from cdp_spark.config.contract import Name, Strict

Semantic = Literal["free_text", "code", "category"]


class Matching(Strict):
    """`matching:` in conf/identity.yml: off unless `enabled`; the rest has defaults.

    A pair is linked where it is one person with `min_probability`, and would still be with `household_probability`
    if all that relatives share (surname, address, phone) said nothing but that both belong to one household. How many
    relatives a record has is counted in the data with the first model, unless `household_size` says it.
    """

    enabled: bool = False
    fields: dict[Name, Semantic] = Field({}, description="further columns of silver.customers, by what they hold")
    min_probability: float = Field(0.9, gt=0, lt=1)
    household_size: float | None = Field(None, gt=0, description="relatives a record has; default: counted in the data")
    household_probability: float = Field(0.7, gt=0, lt=1)
    max_block: int = Field(60, ge=2, description="a blocking key that more records share proposes no pairs")
    max_rule_pairs: int = Field(20_000_000, ge=1, description="a rule with more gives up its largest blocks")
    max_group: int = Field(200, ge=2, description="records of a group in which all pairs are compared, proposed or not")
    sample_records: int = Field(20_000, ge=100)
    training: int = Field(1, ge=1, description="raise it to train anew; a model holds until then")

    @property
    def min_score(self) -> float:
        """Least log odds in bits."""
        return log2(self.min_probability / (1 - self.min_probability))
