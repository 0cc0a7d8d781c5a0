"""A document's own limits, as people type them into a form."""

from dataclasses import fields
from difflib import get_close_matches

from django.core.exceptions import ValidationError

from journal.models import Document
from vuer_rtc.protocol.limit import Limits

NAMES = sorted(field.name for field in fields(Limits))


def check_limits(document: Document) -> None:
    """Raises: ValidationError, which says of each wrong entry what is wrong with it."""
    if not isinstance(document.limits, dict):
        raise ValidationError({"limits": 'This is no map of names to numbers, as in {"nodes_max": 500}.'})
    faults = []
    for name, value in document.limits.items():
        if name not in NAMES:
            close = get_close_matches(name, NAMES, 1)
            hint = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(NAMES)}."
            faults.append(f"{name} is not a limit. {hint}")
            continue
        try:
            Limits().overridden({name: value})
        except ValueError as error:
            faults.append(f"{error}.")
    if faults:
        raise ValidationError({"limits": faults})
