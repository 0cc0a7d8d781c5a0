"""How much of a journal a page of the admin replays: beyond, it names the command that does the same."""

from typing import Any

from journal.admin_text import command_line
from journal.error import JournalError
from journal.history import replay_length
from journal.models import Document
from journal.position import read_heads
from journal.settings import settings


class ReplayTooLong(JournalError):
    """A page would have to replay more messages than it may; says which command does it instead."""


class NotWhole(JournalError):
    """The document is being imported, or deleted for good: nothing of it can be told or done."""


def refuse_unfinished(document: Document) -> None:
    """Returns for a document whose rows are all there.  Raises: NotWhole."""
    if document.condition:
        raise NotWhole(f"the document is {document.get_condition_display()}")


def refuse_long(messages: int, command: str, document: Document, **options: Any) -> None:
    """Returns for what a page can wait for.  Raises: ReplayTooLong."""
    if messages > settings.admin_replay_messages_max:
        told = command_line(command, document.slug, **options)
        raise ReplayTooLong(f"That takes a replay of {messages} messages, too many for a page. Use: {told}")


def refuse_long_way(document: Document, seq_a: int, seq_b: int | None, command: str, **options: Any) -> None:
    """Returns when the state at `seq_a`, and what came then up to `seq_b`, is near one that a row holds.

    Raises: ReplayTooLong; UnknownDocument, JournalUnavailable.
    """
    refuse_long(
        replay_length(document.pk, seq_a, seq_a if seq_b is None else seq_b), command, document, **options
    )


def refuse_long_recovery(document: Document, command: str, **options: Any) -> None:
    """Returns when the present state is.  Raises: as `refuse_long_way`."""
    head_seq = read_heads([document.pk]).get(document.pk, 0)
    refuse_long_way(document, head_seq, None, command, **options)
