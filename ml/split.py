"""Can the split of an experiment be trusted? Sizes of the arms beside the plan, and who lacks an outcome."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from scipy import stats

from cdp_spark.audiences.lift import REFUSE, WARN, sample_ratio
from ml.files import TableError

MANY = 3  # effects in one report, from which on luck has to be spoken of
WORST = ("fair", "warn", "refuse")


def planned(text: str) -> dict[str, float]:
    """Shares of `control=0.1,treatment=0.9`, by arm. Raises TableError where that is not what stands there."""
    found: dict[str, float] = {}
    for part in text.split(","):
        arm, _, share = part.rpartition("=")
        try:
            found[arm.strip()] = float(share)
        except ValueError:
            found = {}
            break
    if "" in found or len(found) < 2 or not all(0 < share < float("inf") for share in found.values()):
        raise TableError(f"--shares {text!r}: write each arm and its planned share, such as control=0.1,treatment=0.9")
    return found


def ratio(counts: Mapping[str, int], shares: Mapping[str, float] | None) -> tuple[dict, list[str]]:
    """(the test of the arms' sizes, notes). shares: as planned, by arm, case does not matter; None: equal ones.

    Raises TableError where the plan is of other arms.
    """
    if shares is not None:
        spelled = {arm.lower(): arm for arm in counts}
        shares = {spelled.get(arm.lower(), arm): share for arm, share in shares.items()}
        if set(shares) != set(counts):
            raise TableError(f"--shares plans {', '.join(sorted(shares))}; the arms are {', '.join(sorted(counts))}")
    found = sample_ratio(counts, shares)._asdict()
    if found["verdict"] == "fair":
        return found, []
    than = "equal shares would be (--shares tells planned ones)" if shares is None else "was planned"
    return found, [f"the arms are not as big as {than} (p = {found['p']:.2g}): mistrust the effects"]


def missing(arms: pd.Series, there: pd.Series, outcome: str) -> tuple[dict, list[str]]:
    """(share without an outcome by arm, p that it is the same in all, verdict; notes): Pearson's chi-square test."""
    share = {str(arm): float(value) for arm, value in (~there).groupby(arms).mean().items()}
    p = 1.0
    if 0 < there.sum() < there.size:
        p = float(stats.chi2_contingency(pd.crosstab(arms, there).to_numpy()).pvalue)
    verdict = "refuse" if p < REFUSE else "warn" if p < WARN else "fair"
    found = {"missing": share, "p": p, "verdict": verdict}
    if verdict == "fair":
        return found, []
    told = ", ".join(f"{arm} {value:.1%}" for arm, value in share.items())
    return found, [f"{outcome}: its values are not missing alike in the arms ({told}; p = {p:.2g}): who is left is no "
                   "random split any more, mistrust the effects"]  # fmt: skip


def worst(verdicts: list[str]) -> str:
    return max(verdicts, key=WORST.index)


def many(effects: int) -> list[str]:
    """A note where so many effects are looked at that luck alone makes one of them."""
    if effects < MANY:
        return []
    return [f"{effects} effects are looked at: by luck alone one in twenty has a p below .05; count one only below "
            f"p = {0.05 / effects:.2g} (Bonferroni)"]  # fmt: skip
