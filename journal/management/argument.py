"""What a command is asked for: numbers, and what is wrong with it."""

from argparse import Action, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError


class Senseless(CommandError):
    """The arguments make no sense, together or on this site: nothing was done, exit status 2 (as argparse has it).
    With `--json` an object on the standard output says so as well."""

    def __init__(self, text: str) -> None:
        super().__init__(text, returncode=2)


class Once(Action):
    """An argument that is given once: of two documents, one would be treated and the other forgotten."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(f"name one {self.dest}")
        setattr(namespace, self.dest, values)


PATHS = {"file", "output"}
"""Arguments that name files, which may be any bytes."""


def refuse_what_is_no_text(options: Mapping[str, Any]) -> None:
    """Returns unless an argument has bytes that are no text in the encoding of the locale: no database takes them.

    Raises: Senseless.
    """
    for name in options.keys() - PATHS:
        value = options[name]
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str) and any("\ud800" <= character <= "\udfff" for character in one):
                raise Senseless(f"--{name}: {one!a} is no text in the encoding of this locale")


def count(text: str) -> int:
    """How many: an argument from 0."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is no number from 0")
    return int(text)


def days(text: str) -> float:
    """A length of time from 0, up to what a calendar has."""
    return _from_zero(text, below=1e6)


def seconds(text: str) -> float:
    """The same in seconds."""
    return _from_zero(text, below=1e9)


def _from_zero(text: str, *, below: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < below:
        raise ArgumentTypeError(f"{text!r} is no number from 0 to {below:.0f}")
    return value
