"""Which customers does a file of transactions hold, and what are they worth? From rows to a report of their value."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cdp_spark.shown import named
from ml.cells import blanked, days, numbers
from ml.clv import (
    BgNbd,
    ClvError,
    GammaGamma,
    alike,
    alive,
    bg_nbd,
    customers,
    expected_purchases,
    expected_value,
    gamma_gamma,
    holdout,
)
from ml.files import TableError, needs

CUSTOMER = ("customer_id", "customerid", "customer", "cust_id", "household_id", "user_id", "userid", "client_id", "id")
DAY = ("date", "day", "order_date", "invoicedate", "invoice_date", "transaction_timestamp", "transaction_date",
       "event_time", "timestamp", "order_purchase_timestamp", "purchase_date", "datetime", "time")  # fmt: skip
ZONE = r"([T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?) ?(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)$"  # behind a time of day
FORMATS = "2025-09-30, 2025-09-30T18:05:00, 30/09/2025, 30.09.2025, 20250930 or 30 Sep 2025"
AHEAD = 273  # days, where neither --horizon nor a later row says how far
GAP, FEW = 365, 0.001  # a gap of so many days, and of more than all days before it, that few rows stand behind
AMOUNT = ("amount", "dollar_value", "value", "sales_value", "sales", "spend", "revenue", "total", "price", "monetary")


def column(
    frame: pd.DataFrame, given: str | None, usual: tuple[str, ...], what: str, needed: bool = True
) -> str | None:
    """The column `given`, else the first of the usual names. Raises TableError where it is needed and there is none."""
    if given:
        needs(frame, [given], "transactions")
        return given
    lower = {name.lower().replace(" ", "_"): name for name in reversed(frame.columns)}
    found = next((lower[name] for name in usual if name in lower), None)
    if found is None and needed:
        raise TableError(f"which column is the {what}? Name it with --{what}. There are: {named(frame.columns)}")
    return found


def orders(frame: pd.DataFrame, customer: str | None, day: str | None, amount: str | None, until: str) -> pd.DataFrame:
    """customer (text), day (midnight), value of each row that has the first two; value 0 without an amount column.

    Rows with a negative value (refunds) are no purchases and are left out. attrs["notes"] tells what was. Raises
    TableError where no row is left, with what is wrong.
    """
    moment(until)
    who, when = column(frame, customer, CUSTOMER, "customer"), column(frame, day, DAY, "date")
    worth = column(frame, amount, AMOUNT, "amount", needed=False)
    stamps = pd.Timestamp(0) + pd.to_timedelta(np.floor(days(local(frame[when]))), unit="D")
    read = numbers(frame[worth]) if worth else None
    value = read.values if read else pd.Series(0.0, frame.index)
    if read and value.isna().all():
        raise TableError(f"{worth}: no cell is an amount; name another column with --amount")
    found = pd.DataFrame({"customer": blanked(frame[who]), "day": stamps, "value": value})
    whole = found.dropna(subset=["customer", "day"])
    kept = whole[~(whole["value"] < 0)].fillna({"value": 0.0})
    unread = int(whole["value"].isna().sum())
    notes = [f"customer {who}, date {when}, amount {worth or 'none: counts alone'}"]
    for count, why in ((len(found) - len(whole), "without customer or date"), (len(whole) - len(kept), "below 0")):
        notes += [f"{count} rows {why} are left out"] if count else []
    notes += [f"{unread} rows without a finite amount count as purchases of value 0"] if unread else []
    if kept.empty:
        raise TableError(nothing(found, who, when, worth))
    kept.attrs["notes"] = notes
    return kept


def local(stamps: pd.Series) -> pd.Series:
    """Times without their zone: the day of a purchase is the day on the clock that it was written down by."""
    if isinstance(stamps.dtype, pd.DatetimeTZDtype):
        return stamps.dt.tz_localize(None)
    if pd.api.types.is_numeric_dtype(stamps) or pd.api.types.is_datetime64_dtype(stamps):
        return stamps
    text = stamps.astype("string").str.strip()
    return text.str.replace(ZONE, r"\1", regex=True)


def nothing(found: pd.DataFrame, who: str, when: str, worth: str | None) -> str:
    """Why no row of `found` is a purchase."""
    if found["day"].isna().all():
        return (f"{when}: no cell is a date such as {FORMATS}; seconds since 1970 and other words have to become dates "
                "first, or name another column with --date")  # fmt: skip
    if found["customer"].isna().all():
        return f"{who}: no cell names a customer; name another column with --customer"
    whole = found.dropna(subset=["customer", "day"])
    if whole.empty:
        return f"no row has both a customer in {who} and a date in {when}"
    return f"{worth}: all {len(whole)} amounts are below 0, which stands for refunds; turn their sign for purchases"


def moment(text: str) -> pd.Timestamp:
    """The day that is meant, by its own clock where a zone stands there. Raises TableError where it is no date."""
    try:
        found = pd.Timestamp(pd.to_datetime(text, format="ISO8601"))
    except (ValueError, TypeError, OverflowError):
        found = pd.NaT
    if found is pd.NaT:
        raise TableError(f"--until {text!r} is not a date such as 1997-09-30")
    return found.tz_localize(None).normalize()


def last_day(seen: pd.Series) -> tuple[pd.Timestamp, int]:
    """(the last day of the file, rows behind it): a few rows far in the future are slips, and no end of a holdout."""
    known = seen.drop_duplicates().sort_values().reset_index(drop=True)
    gap, span = known.diff().dt.days, (known - known.iloc[0]).dt.days
    for at in gap.index[(gap > GAP) & (gap > span.shift())]:
        behind = int((seen >= known[at]).sum())
        if behind <= max(1, FEW * len(seen)) and at > 1:
            return known[at - 1], behind
    return known.iloc[-1], 0


def reported(found: pd.DataFrame, until: str, unit_days: float, horizon: int | None = None) -> tuple[dict, tuple]:
    """(report, (BG/NBD, Gamma-Gamma or None)). The holdout is what lies after `until`, up to `horizon` days.

    horizon: days that are forecast; None: as far as the file goes, AHEAD where it ends with `until`.
    """
    cut, (end, slips) = moment(until), last_day(found["day"])
    base = customers(found, cut, unit_days)
    if base.empty:
        raise ClvError(f"no purchase until {until}; the first is of {found['day'].min():%Y-%m-%d}")
    model, notes = bg_nbd(base), list(found.attrs.get("notes", []))
    notes += [f"{slips} rows over a year after all others are in no holdout; is their date right?"] if slips else []
    later = end > cut
    known = (end - cut).days if later else 0
    ahead = horizon or known or AHEAD
    if 0 < known < ahead:
        notes.append(f"the holdout ends with the file, after {known} of {ahead} days")
    end = min(end, cut + pd.Timedelta(days=ahead))
    report = {
        "model": "clv",
        "until": until,
        "customers": len(base),
        "repeat_purchases": int(base["x"].sum()),
        "unit_days": unit_days,
        "bg_nbd": model._asdict(),
        "horizon_days": ahead,
        "expected_purchases": float(expected_purchases(model, base, ahead / unit_days).sum()),
        "mean_p_alive": float(alive(model, base).mean()),
    }
    if later:
        report["holdout"] = holdout(model, base, found, cut, end, unit_days)
    spend, told = _spend(model, base, ahead / unit_days)
    if later and spend:
        report["holdout"]["spend"] = _money(model, spend, base, found, cut, end, unit_days)
    report["gamma_gamma"] = spend._asdict() if spend else None
    notes += alike(model) + (alike(spend) if spend else [])
    return report | {"notes": notes + told}, (model, spend)


def _spend(model: BgNbd, base: pd.DataFrame, t: float) -> tuple[GammaGamma | None, list[str]]:
    """Gamma-Gamma, and how far its assumption holds: value and number of purchases must hardly go together."""
    try:
        found = gamma_gamma(base)
        expected_value(found, base)
    except ClvError as error:
        return None, [f"no values: {error}"]
    known = base[(base["x"] > 0) & base["m"].notna()]
    alike_all = known["x"].nunique() < 2 or known["m"].nunique() < 2
    together = 0.0 if alike_all else float(known["x"].corr(known["m"]))
    return found, [f"purchases and their value correlate {together:.2f}; Gamma-Gamma supposes about 0"]


def _money(
    model: BgNbd, spend: GammaGamma, base: pd.DataFrame, found: pd.DataFrame, cut, end, unit_days: float
) -> dict:
    later = found[(found["day"] > cut) & (found["day"] <= end)]
    paid = later.groupby("customer")["value"].sum().reindex(base.index, fill_value=0.0)
    worth = expected_purchases(model, base, (end - cut).days / unit_days) * expected_value(spend, base)
    return {"total": float(worth.sum()), "actual_total": float(paid.sum()), "mae": float(np.abs(worth - paid).mean())}


def predictions(found: pd.DataFrame, models: tuple, until: str, unit_days: float, ahead: int) -> pd.DataFrame:
    """One row per customer: p_alive, expected_purchases, expected_value and clv over `ahead` days, undiscounted."""
    model, spend = models
    base = customers(found, moment(until), unit_days)
    count = expected_purchases(model, base, ahead / unit_days)
    told = pd.DataFrame({"p_alive": alive(model, base), "expected_purchases": count}, index=base.index)
    if spend:
        told["expected_value"] = expected_value(spend, base)
        told["clv"] = told["expected_purchases"] * told["expected_value"]
    return told
