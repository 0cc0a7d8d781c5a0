"""Which documents are there, and how far each is; of damaged rows, see test_stored_row."""

from typing import Any
from uuid import uuid4

import pytest

from journal.error import UnknownDocument
from journal.models import Document
from journal.position import load_document, read_heads
from tests.journal.history import append, append_each, message, put


def test_a_document_is_found_by_its_slug(document: Document) -> None:
    assert load_document("room") == document
    with pytest.raises(UnknownDocument):
        load_document("no-such-room")


def test_heads_of_many_documents_take_one_query(
    document: Document, other: Document, django_assert_num_queries: Any
) -> None:
    empty = Document.objects.create(slug="empty")
    append_each(document, [message(lt, put("n", "x", lt)) for lt in range(1, 8)], size=3)
    append(other, message(1, put("n", "x", 0)))
    with django_assert_num_queries(1):
        heads = read_heads([document.pk, other.pk, empty.pk, uuid4()])
    assert heads == {document.pk: 7, other.pk: 1, empty.pk: 0}


def test_the_head_of_a_document_whose_batches_are_all_folded_is_the_truncation_point(
    document: Document,
) -> None:
    Document.objects.filter(pk=document.pk).update(truncated_seq=9)
    assert read_heads([document.pk]) == {document.pk: 9}
