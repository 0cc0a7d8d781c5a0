"""A time on the command line."""

from argparse import ArgumentTypeError
from datetime import UTC, datetime

from django.utils import timezone
from django.utils.dateparse import parse_datetime


def moment(text: str) -> datetime:
    """A time in ISO 8601; without an offset, in the site's time zone."""
    try:
        found = parse_datetime(text)
        if found is None:
            raise ArgumentTypeError(f"{text!r} is no time like 2026-01-31T12:00 or 2026-01-31T12:00:00+01:00")
        aware = found if timezone.is_aware(found) else timezone.make_aware(found)
        for zone in (UTC, timezone.get_current_timezone()):
            aware.astimezone(zone)  # the calendar's first and last hours are not in every zone
    except (ValueError, OverflowError) as error:
        raise ArgumentTypeError(f"{text!r}: {error}") from error
    return aware
