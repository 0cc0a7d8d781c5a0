"""The document that a name in an address stands for."""

from journal.models import Document
from rooms.settings import settings


def document_of(slug: str) -> Document:
    """The document of that name, if it is open; else a private one that is nowhere (`is_there`).

    So whoever asks for rights asks the same questions either way, and nobody learns from the time an answer takes
    whether there is a document that they may not see.
    """
    is_possible = len(slug) <= settings.slug_chars_max and "\0" not in slug
    opened = Document.objects.filter(archived_at=None, condition=Document.Condition.WHOLE)
    found = opened.filter(slug=slug).first() if is_possible else None
    return found if found is not None else Document()


def is_there(document: Document) -> bool:
    return not document._state.adding
