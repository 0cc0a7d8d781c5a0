"""J43 and J51 for random histories: whatever came before, and whatever comes later, the copies are the document."""

import io
from typing import Any

from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from journal.compaction import KeepRules, compact_document
from journal.export import Export
from journal.intake import import_lines
from journal.lease import lease
from journal.management.commands.export_journal import archived_lines
from journal.models import Document, JournalBatch
from journal.reader import hydrate, read_after
from journal.reset import reset_document
from journal.transfer_line import read_lines
from tests.journal.document_pair import CLIENTS, RESET, message_of, step
from tests.journal.history import append
from vuer_rtc.crdt.message import Message

MEMORY = {"BACKEND": "django.core.files.storage.InMemoryStorage"}


def copied(document: Document, slug: str, *, is_whole: bool) -> Document:
    """The document, out of an export of what the journal has, or of the whole history."""
    document.refresh_from_db()
    out = io.BytesIO()
    with lease(document.pk) as held:
        Export(held, document, out).write(archived=archived_lines(document) if is_whole else None)
    import_lines(read_lines(io.BytesIO(out.getvalue())), slug)
    return Document.objects.get(slug=slug)


@override_settings(STORAGES={"journal-archive": MEMORY, "default": MEMORY, "staticfiles": MEMORY})
class Histories(TestCase):
    """Steps are those of the compaction's property; each compaction archives."""

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(before=st.lists(step, min_size=2, max_size=20), later=st.lists(step, max_size=10))
    def test_j43_j51_copies_are_the_document_now_and_later(self, before: list[Any], later: list[Any]) -> None:
        document = Document.objects.create(slug="origin")
        written: list[Message] = []
        counters = dict.fromkeys(CLIENTS, 0)
        for given_step in before:
            self.take(document, given_step, counters, written)
        copies = [copied(document, "copy", is_whole=False), copied(document, "whole", is_whole=True)]
        assert copies[1].truncated_seq == 0
        for given_step in [None, *later]:
            head_seq = hydrate(document.pk).head_seq
            if given_step is not None and not isinstance(given_step, KeepRules):
                self.take(document, given_step, counters, written)
                for batch in read_after(document.pk, head_seq):
                    for copy in copies:
                        append(copy, *batch.messages)
            graph = hydrate(document.pk).graph
            for copy in copies:
                other = hydrate(copy.pk).graph
                assert (other.head_seq, other.digest()) == (graph.head_seq, graph.digest())
                assert other.full_digest() == graph.full_digest()
        assert JournalBatch.objects.filter(document=copies[1]).count() >= len(written)

    def take(
        self, document: Document, given_step: Any, counters: dict[str, int], written: list[Message]
    ) -> None:
        if isinstance(given_step, KeepRules):
            compact_document(document, given_step, is_archiving=True)
        elif given_step == RESET:
            reset_document(document.pk)
        else:
            item = message_of(given_step, counters, written, hydrate(document.pk).graph.epoch.lt)
            written.append(item)
            append(document, item)
