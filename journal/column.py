"""Values as every database takes them: no NUL characters, bounded where indexed, times that calendars
have."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.utils.timezone import get_default_timezone, is_naive, make_naive

from journal.models import KEY_CHARS_MAX


def bounded(text: str) -> str:
    """`text` if it fits a column, else its beginning with a hash of the whole: still unique."""
    text = storable(text)
    if len(text) <= KEY_CHARS_MAX:
        return text
    mark = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return f"{text[: KEY_CHARS_MAX - 17]}…{mark}"


def storable(value: Any) -> Any:
    """`value` with the NUL character, which PostgreSQL does not store, replaced by its picture."""
    if isinstance(value, str):
        return value.replace("\x00", "␀") if "\x00" in value else value
    return _without_nul(value) if value and b"\\u0000" in msgspec.json.encode(value) else value


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\x00", "␀")
        case dict():
            return {_without_nul(name): _without_nul(member) for name, member in value.items()}
        case list():
            return [_without_nul(member) for member in value]
    return value


def is_stored(stored: Any, value: Any) -> bool:
    """True when a column in which `stored` was found holds `value`.

    PostgreSQL gives a large double back as an integer of the same shortest digits, which is another number; what reads
    as the same double is the same.  A boolean is no number.
    """
    kind = type(value)
    if kind is float or kind is int:
        return type(stored) in (int, float) and float(stored) == float(value)
    if kind is bool:
        return stored is value
    if kind is list:
        return type(stored) is list and len(stored) == len(value) and all(map(is_stored, stored, value))
    if kind is dict:
        return (
            type(stored) is dict
            and stored.keys() == value.keys()
            and all(is_stored(stored[name], member) for name, member in value.items())
        )
    return bool(stored == value)


def moment(ts: float) -> datetime | None:
    """A raw `ts` (seconds below 1e11, else milliseconds) as a time; None when no calendar has it."""
    try:
        return as_column(datetime.fromtimestamp(ts if ts < 1e11 else ts / 1000, UTC))
    except (OverflowError, OSError, ValueError):
        return None


def as_column(moment: datetime) -> datetime:
    """The same time as the site's columns have it: with `USE_TZ` off, without a zone, in that of the site."""
    if django_settings.USE_TZ or is_naive(moment):
        return moment
    return make_naive(moment, get_default_timezone())


def user_key(text: str | None) -> Any:
    """The primary key of an account from its text; None for none and for text that is no key, or no column holds."""
    if text is None:
        return None
    field = get_user_model()._meta.pk
    try:
        key = field.to_python(text)
        field.run_validators(key)
    except ValidationError:
        return None
    return key
