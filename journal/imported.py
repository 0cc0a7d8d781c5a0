"""What the ways of importing share: the report, and whose the entries are."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.contrib.auth import get_user_model
from django.db import models

from journal.entry import Entry
from journal.transfer_line import Names

Tell = Callable[[int, int], None]
"""Told of progress: how many messages so far, of how many; 0: nobody knows."""


class Accounts(models.TextChoices):
    """What becomes of the account keys in entries."""

    KEEP = "keep", "the same keys: right for the same site"
    MATCH = "match", "the account of that user name here; nobody where there is none"
    DROP = "drop", "nobody"


@dataclass(slots=True)
class Imported:
    """What was written."""

    slug: str
    outcome: str = "imported"
    document_id: str = ""
    batches: int = 0
    messages: int = 0
    snapshots: int = 0
    head_seq: int = 0
    digest: str = ""
    full_digest: str = ""
    duplicates: int = 0
    """Messages of a dump that were there already."""
    refused_count: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)
    """What was left out of a dump, the first thousand: `{line, code, detail}`."""


class Keys:
    """Account keys of a file, as the entries written here are to have them."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._here: dict[str, str | None] = {}

    def learn(self, names: Names) -> None:
        if self._accounts is Accounts.MATCH:
            model: Any = get_user_model()
            field_name = model.USERNAME_FIELD
            found = model._default_manager.filter(**{f"{field_name}__in": list(names.names.values())})
            by_name = {account.get_username(): str(account.pk) for account in found}
            self._here.update({key: by_name.get(name) for key, name in names.names.items()})

    def of(self, key: str | None) -> str | None:
        if key is None or self._accounts is Accounts.KEEP:
            return key
        return self._here.get(key)

    def entry(self, entry: Entry) -> Entry:
        """The entry as it is written here; the session it came by is one of this site only if its account is."""
        user = self.of(entry.user)
        msgspec.structs.force_setattr(entry.message, "server_seq", 0)  # its place says it (rule J2)
        session = entry.session if self._accounts is Accounts.KEEP else None
        return Entry(entry.message, user, session, entry.received_at)
