"""Days and times that a user gives: the last day of a consent, and the beginning of a log. Which day is today."""

from __future__ import annotations

import calendar
import re
from datetime import date, datetime, timedelta, timezone

from facedex.errors import DataError

NEVER = "never"

_DURATION = re.compile(r"(\d{1,5})([dwmy])", re.IGNORECASE)


def today() -> str:
    """Today where this machine is, as YYYY-MM-DD. A consent that ends today is valid until midnight."""
    return date.today().isoformat()


def has_passed(last: str) -> bool:
    """Whether a last day (YYYY-MM-DD, "" for no end) is over."""
    return bool(last) and last < today()


def last_day(text: str | date | None) -> str:
    """The last day of a consent as YYYY-MM-DD, "" for one without end.

    `text`: a date (2027-06-30), a duration from today on (90d, 12w, 6m, 1y), "never" or None for no end. Raises
    DataError for anything else, and for a day that is past.
    """
    if text is None:
        return ""
    given = str(text).strip()
    if given.lower() == NEVER:
        return ""
    now = date.fromisoformat(today())
    try:
        match = _DURATION.fullmatch(given)
        end = _after(now, int(match[1]), match[2].lower()) if match else date.fromisoformat(given)
    except (ValueError, OverflowError):
        raise DataError(f"{given!r} is no day; give one as 2027-06-30, or as 90d, 12w, 6m, 1y or never") from None
    if end < now:
        raise DataError(f"{given} is past; give a day to come, or delete the person with `facedex remove`")
    return end.isoformat()


def since_when(text: str) -> str:
    """The beginning of a span as an ISO 8601 time in UTC.

    `text`: a day or a time (2026-11-30, 2026-11-30T12:00) where this machine is, or a duration before today (90d, 12w,
    6m, 1y). Raises DataError.
    """
    given = text.strip()
    try:
        match = _DURATION.fullmatch(given)
        if match:
            start = datetime.fromisoformat(
                _after(date.fromisoformat(today()), -int(match[1]), match[2].lower()).isoformat()
            )
        else:
            start = datetime.fromisoformat(given)
        return start.astimezone(timezone.utc).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        raise DataError(
            f"{given!r} is no time; give one as 2026-11-30, 2026-11-30T12:00, or as 90d, 12w, 6m, 1y"
        ) from None


def _after(day: date, count: int, unit: str) -> date:
    """A day some days, weeks, months or years later. A month that is too short gives its last day."""
    if unit in "dw":
        return day + timedelta(days=count * (7 if unit == "w" else 1))
    months = day.month - 1 + count * (12 if unit == "y" else 1)
    year, month = day.year + months // 12, months % 12 + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))
