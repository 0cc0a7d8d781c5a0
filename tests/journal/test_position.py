"""Which documents are there, and how far each is; of damaged rows, see test_stored_row."""

from typing import Any
from uuid import uuid4

import pytest

from journal.error import UnknownDocument
from journal.models import Document, JournalBatch
from journal.position import TRUNCATED, load_document, look, read_heads
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


def test_j66_it_tells_whether_what_somebody_has_read_is_there_still(document: Document) -> None:
    def lacks(head_seq: int, last_batch: Any) -> bool:
        positions, there = look([document.pk], [last_batch])
        position = positions[document.pk]
        assert position is not None
        return position.lacks(head_seq, last_batch, there)

    def newest() -> tuple[int, Any]:
        batch = JournalBatch.objects.order_by("-last_seq").first()
        return (batch.last_seq, batch.pk) if batch is not None else (0, None)

    assert not lacks(*newest())
    append_each(document, [message(lt, put("n", "x", lt)) for lt in range(1, 4)])
    third = newest()
    assert not lacks(*third)
    JournalBatch.objects.filter(last_seq=3).delete()
    assert lacks(*third)
    assert not lacks(3, None), "a snapshot may hold it"
    append(document, message(5, put("n", "x", 5)))
    assert lacks(*third), "another one is there"
    other = newest()
    append(document, message(6, put("n", "x", 6)))
    assert not lacks(*other), "reading on will tell"
    assert not lacks(*newest())
    Document.objects.filter(pk=document.pk).update(truncated_seq=4)
    assert not lacks(*newest()), "it is folded away"
    JournalBatch.objects.all().delete()
    folded = 4, TRUNCATED
    assert not lacks(*folded)
    Document.objects.filter(pk=document.pk).update(truncated_batch=other[1])
    assert lacks(4, third[1]), "another one ended there"
    assert not lacks(4, other[1])
    assert not lacks(*folded)
    Document.objects.filter(pk=document.pk).update(truncated_seq=2)
    assert lacks(*folded)
