"""How the admin writes values and people: short, bounded, escaped."""

import json
import re
import shlex
import unicodedata
from bisect import bisect_left
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import is_aware, localtime

from journal.column import user_key
from journal.models import Document, Operation
from journal.settings import settings
from vuer_rtc.crdt.message import SERVER_CLIENT, SITE_CLIENT

EMPTY_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and signs by their category, blanks on the screen."""
TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
DELETED = "deleted account "
UNREADABLE = "cannot be read"

_encoder = json.JSONEncoder(ensure_ascii=False)


def brief(value: Any, chars_max: int = 80) -> str:
    """A value as one line of JSON, cut at `chars_max`; empty for None."""
    if value is None:
        return ""
    return cut(_beginning(value, chars_max), 0, chars_max)


def brief_pair(before: Any, after: Any, chars_max: int) -> tuple[str, str]:
    """Two values as one line of JSON each, cut at `chars_max`: what first differs is in it."""
    texts = [_beginning(value, chars_max) for value in (before, after)]
    start = 0
    if max(map(len, texts)) > chars_max and _same(texts) > chars_max // 2:
        texts = [json.dumps(value, ensure_ascii=False) for value in (before, after)]
        start = _same(texts) - chars_max // 4
    one, other = (cut(text, start, chars_max) for text in texts)
    return one, other


def _beginning(value: Any, chars_max: int) -> str:
    """A value as JSON, or more than `chars_max` of it: of a megabyte of numbers a line is shown."""
    parts: list[str] = []
    length = 0
    with suppress(
        RecursionError, ValueError
    ):  # of what nobody can have sent: maps in a thousand maps, endless numbers
        for part in _encoder.iterencode(value):
            parts.append(part)
            length += len(part)
            if length > chars_max:
                break
        return "".join(parts)
    return f"{''.join(parts)}… ({UNREADABLE})"


def _same(texts: list[str]) -> int:
    """How many characters two texts begin with together."""
    length = min(map(len, texts))
    return bisect_left(range(length), True, key=lambda at: texts[0][: at + 1] != texts[1][: at + 1])


def cut(text: str, start: int, chars_max: int) -> str:
    """So much of a text, with an ellipsis for what is before it and for what is behind."""
    shown = f"…{text[start:]}" if start else text
    return shown if len(shown) <= chars_max else f"{shown[: chars_max - 1]}…"


def pretty(value: Any) -> SafeString:
    """A value as indented JSON, cut at the setting's bound."""
    try:
        text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)
    except (RecursionError, ValueError):
        text = UNREADABLE
    bound = settings.admin_value_chars_max
    if len(text) > bound:
        text = f"{text[:bound]}…\n({len(text)} characters)"
    return format_html('<pre class="pretty">{}</pre>', text)


def visible(name: str) -> str:
    """A name; where nothing of it is to be seen, in quotes, by its code points."""
    if any(unicodedata.category(one)[0] in "LNPS" and one not in EMPTY_LETTERS for one in name):
        return name
    return json.dumps(name)


def named(name: str) -> str:
    """A name inside a sentence, which it cannot turn about: what changes the direction stands as its code point."""
    return TURNING.sub(lambda found: f"\\u{ord(found[0]):04x}", visible(name))


def called(document: Document) -> str:
    """A document by its title and its name: others may have the same title."""
    return f"{document.title} ({document.slug})" if document.title else document.slug


def clipped(text: str, whole: str = "") -> SafeString:
    """A text on one line of a list, as much as the column shows; under the mouse all of it, or of `whole`."""
    return (
        format_html('<span class="clipped" title="{}">{}</span>', whole or text, visible(text))
        if text
        else SafeString("")
    )


def seconds(moment: datetime | None) -> str:
    """A time to the second, in the site's time zone.  None: what a column holds is no time."""
    return UNREADABLE if moment is None else date_format(local(moment), "Y-m-d H:i:s")


def local(moment: datetime) -> datetime:
    """A time of a row in the site's time zone; with `USE_TZ` off, it is in that already."""
    return localtime(moment) if is_aware(moment) else moment


def who(row: Operation) -> str:
    """The account behind an operation, or why there is none."""
    if row.user is not None:
        return str(row.user)
    if row.user_id is not None:
        return deleted_account(row.user_id)
    return nobody(row.client)


def nobody(client: str) -> str:
    """Who wrote what no account is named for."""
    return {SERVER_CLIENT: "server", SITE_CLIENT: "the site"}.get(client, "anonymous")


def deleted_account(key: Any) -> str:
    """Who wrote what an account is named for that is there no more."""
    return f"{DELETED}{key}"


def deleted_keys(text: str) -> list[Any]:
    """The key of that account, told as above or alone; empty when it is none, or that of an account there is."""
    key = user_key(text.removeprefix(DELETED))
    is_none = key is None or get_user_model()._default_manager.filter(pk=key).exists()
    return [] if is_none else [key]


def names_of(texts: set[str]) -> dict[str, str]:
    """Names of accounts by the text of their primary keys, in one query."""
    keys = {text: user_key(text) for text in texts}
    accounts = get_user_model()._default_manager.in_bulk([key for key in keys.values() if key is not None])
    return {text: str(accounts.get(key, deleted_account(text))) for text, key in keys.items()}


def command_line(command: str, slug: str | None, **options: Any) -> str:
    """A command about a document, or all of them, to be pasted into a shell; options that are None are left out."""
    given = {"document": slug, **options}
    words = [_option(name, str(value)) for name, value in given.items() if value is not None]
    return " ".join(["manage.py", command, *words])


def _option(name: str, value: str) -> str:
    """What begins with a dash would be taken for another option."""
    return f"--{name}{'=' if value.startswith('-') else ' '}{_quoted(value)}"


def _quoted(value: str) -> str:
    """Control characters, which a terminal would take for keys that are pressed, as shells write them (`$'…'`)."""
    if value.isprintable():
        return shlex.quote(value)
    return f"$'{''.join(map(_typed, value))}'"


def _typed(character: str) -> str:
    if character.isprintable():
        return f"\\{character}" if character in "\\'" else character
    return f"\\U{ord(character):08x}"
