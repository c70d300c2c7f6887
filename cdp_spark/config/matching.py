"""How are records matched that share no identifier? The model of `matching:` in conf/identity.yml."""

from __future__ import annotations

import re
from collections.abc import Collection
from math import log2
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from cdp_spark.config.contract import Name, Strict

Semantic = Literal["free_text", "code", "category"]

# <name>_as_<other>: the same text under a second name: training by one must not switch off the other's comparison
GIVEN = ("given", "given_root", "given_sound", "given_letters", "given_as_family")
FAMILY = ("family", "family_sound", "family_letters", "family_as_given")
COLUMNS = (*GIVEN, "middle", "middle_as_given", *FAMILY, "generation", "birth", "sex", "house", "street", "address",
           "unit", "city", "region", "postcode", "phone", "email", "email_name", "national_id", "account_number",
           "company", "company_words")  # fmt: skip
FROM = {
    "first_name": GIVEN,
    "last_name": (*FAMILY, "generation"),
    "full_name": (*GIVEN, *FAMILY, "middle", "middle_as_given", "generation"),
    "middle_name": ("middle", "middle_as_given"),
    "birth_date": ("birth",),
    "birth_text": ("birth",),
    "gender": ("sex",),
    "house_number": ("house",),
    "street": ("street", "house", "address"),
    "unit": ("unit",),
    "city": ("city",),
    "state": ("region",),
    "postcode": ("postcode",),
    "phone": ("phone",),
    "email": ("email", "email_name"),
    "national_id": ("national_id",),
    "account_number": ("account_number",),
    "company": ("company", "company_words"),
}  # fmt: skip


def filled(mapped: set[str], extra: dict[str, str]) -> set[str]:
    """Prepared columns that can hold values where sources map the customers' columns `mapped`."""
    found = {column for name in mapped & FROM.keys() for column in FROM[name]}
    return found | {f"x_{name}" for name in mapped & extra.keys()}


# what a customer's column is called once it is prepared, where that is another word
SPOKEN = {"first_name": "given", "last_name": "family", "middle_name": "middle", "birth_date": "birth",
          "birth_text": "birth", "gender": "sex", "house_number": "house", "state": "region"}  # fmt: skip
PLACE = {"street", "city", "postcode", "region"}
EQUAL = "equal"
# what Spark and DuckDB, which trains, compute alike
BOTH = {"abs", "coalesce", "concat", "contains", "greatest", "least", "left", "length", "levenshtein", "lower",
        "nullif", "replace", "right", "substr", "substring", "trim", "upper"}  # fmt: skip
WORD = re.compile(r"'(?:[^']|'')*'|[A-Za-z_]\w*")


def prepared_names(text: str, fields: Collection[str]) -> str:
    """`text`, a name or SQL, with customers' columns and declared `fields` as prepared records have them.

    last_name is family, title is x_title; so are last_name_l and title_r, of one of two records.
    """
    names = SPOKEN | {name: f"x_{name}" for name in fields}

    def renamed(match: re.Match) -> str:
        word = match[0]
        stem, side = (word[:-2], word[-2:]) if word.endswith(("_l", "_r")) else (word, "")
        return names.get(word) or (names[stem] + side if stem in names else word)

    return WORD.sub(renamed, text)


class Compared(Strict):
    """How one thing is compared, in place of what is shipped; what is not said stays as it is."""

    used: bool = True
    levels: tuple[float | str, ...] | None = Field(
        None,
        min_length=1,
        description="from the most to the least alike: `equal`, a share of letters that may differ, or SQL over both",
    )
    says: float | None = Field(None, gt=0, le=40, description="one of 2^says strangers agrees, as far as is known")
    own: bool | None = Field(None, description="does it tell members of a household apart?")

    @model_validator(mode="before")
    @classmethod
    def false_is_unused(cls, data: Any) -> Any:
        return {"used": False} if data is False else data

    @field_validator("levels")
    @classmethod
    def less_and_less_alike(cls, levels: tuple | None) -> tuple | None:
        shares = [level for level in levels or () if isinstance(level, float)]
        if any(not 0 < share < 1 for share in shares) or shares != sorted(set(shares)):
            raise ValueError("expected shares of letters that may differ, between 0 and 1 and rising, such as [equal, "
                             "0.1, 0.3]")  # fmt: skip
        return levels


def a_rule(value: Any) -> Any:
    """A blocking rule of one part may stand alone."""
    return [value] if isinstance(value, str) else value


BlockingRule = Annotated[tuple[str, ...], BeforeValidator(a_rule), Field(min_length=1)]


class Matching(Strict):
    """`matching:` in conf/identity.yml: off unless `enabled`; the rest has defaults.

    A pair is linked where it is one person with `min_probability`, and would still be with `household_probability`
    if all that relatives share (surname, address, phone) said nothing but that both belong to one household. How many
    relatives a record has is counted in the data with the first model, unless `household_size` says it.
    """

    enabled: bool = False
    fields: dict[Name, Semantic] = Field({}, description="further columns of silver.customers, by what they hold")
    blocking: tuple[BlockingRule, ...] | None = Field(None, min_length=1, description="in place of the shipped rules")
    comparisons: dict[Name, Compared] = Field({}, description="by column; false: not compared")
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


def matching_problems(where: str, how: Matching, mapped: set[str]) -> list[str]:
    """What `how` names and no source maps, or cannot be compared. mapped: customers' columns that sources map."""
    from cdp_spark.config.load import unknown
    from cdp_spark.config.sql import sql_problems

    columns = filled(mapped, how.fields)
    known = columns | {name for name in SPOKEN if name in mapped} | set(how.fields)
    found = [unknown(f"{where}.fields", "mapped column", name, mapped) for name in how.fields if name not in mapped]
    for n, rule in enumerate(how.blocking or (), start=1):
        found += [told for part in rule for told in sql_problems(f"{where}.blocking, rule {n}", part, known)]
    names = {name for name in known if not name.endswith("_words")} | ({"place"} if columns & PLACE else set())
    for name, compared in how.comparisons.items():
        if name not in names:
            found.append(unknown(f"{where}.comparisons", "mapped column or comparison", name, names))
        for level in compared.levels or ():
            if isinstance(level, str) and level != EQUAL:
                found += _level_problems(f"{where}.comparisons.{name}.levels", level, known)
    return found


def _level_problems(where: str, level: str, known: Collection[str]) -> list[str]:
    from cdp_spark.config.sql import condition_problems

    calls = {name.lower() for name in re.findall(r"(\w+)\s*\(", level)} - {"and", "or", "not", "in", "when"}
    if odd := sorted(calls - BOTH):
        return [f"{where}: no function {odd[0]!r} here, as training has it not. Known: {', '.join(sorted(BOTH))}"]
    return condition_problems(where, level, {f"{name}_{side}": "string" for name in known for side in "lr"})
