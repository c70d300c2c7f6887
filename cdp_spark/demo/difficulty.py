"""How hard is the generated retailer? Fixed numbers, stated in the README; tests hold the generator to them."""

from __future__ import annotations

from datetime import date

START = date(2026, 1, 30)  # the first drop: eighteen months of history
HISTORY_DAYS = 548
FUTURE_DAYS = 90  # simulated beyond the last drop, for the truth about the future only

# Identity
DUPLICATE_CRM = 0.15  # of CRM people have a second record
NAME_TYPO = 0.10
EMAIL_TYPO = 0.05
MOVED = 0.08
SHARED_DEVICE = 0.25  # of all households
SHARED_EMAIL = 0.03  # of all households
SHARED_LANDLINE = 0.03  # of all households
NEVER_LOGS_IN = 0.20  # of visitors

# Rows
LATE = 0.02
LATE_DAYS = 5  # at most so many days behind the event
DUPLICATED = 0.01
MALFORMED = 0.005

# Who is where
HOUSEHOLD_SIZES = (0.45, 0.33, 0.12, 0.10)  # one to four people
VISITS_WEB = 0.85
HAS_APP = 0.30  # of account holders
IN_CRM = 0.90
HAS_CARD = 0.55
ENRICHED = 0.40
CRM_USER_ID = 0.85  # of records of account holders
CRM_USER_ID_DUPLICATE = 0.10
CRM_BIRTH_DATE = 0.95
LOYALTY_BIRTH_DATE = 0.85
JOINED_BEFORE = 0.65  # of people were customers before the history begins

# Behaviour: a gamma buying rate, an exponential life, a mood that drifts from month to month
RATE_SHAPE, RATE_PER_DAY = 0.9, 0.0120
LIFE_DAYS = 750.0
MOOD_MEMORY, MOOD_SPREAD = 0.85, 0.80
VISITS_PER_DAY = 0.0052
APP_VISITS_PER_DAY = 0.0068
MAILS_PER_DAY = 0.024
SUBSCRIBED = 0.75
UNSUBSCRIBES = 0.18  # of subscribers, some day
TICKET_PER_ORDER = 0.12
ANGRY_BEFORE_LEAVING = 0.35  # of those who leave complain within 45 days before
REFUNDED, CANCELLED = 0.04, 0.02
BOTS_PER_1000 = 5
MONTH_FACTOR = (0.85, 0.80, 0.92, 0.98, 1.0, 1.0, 0.92, 0.90, 1.0, 1.05, 1.40, 1.55)
WEEKDAY_FACTOR = (0.9, 0.9, 0.95, 1.0, 1.1, 1.2, 0.95)
