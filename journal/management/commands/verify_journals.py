"""`manage.py verify_journals`: exit status 1 when a journal is damaged."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from journal.damage import note_verdict
from journal.management.per_document import DocumentCommand
from journal.models import Document
from journal.verification import verify_document


class Command(DocumentCommand):
    help = (
        "Read every batch and snapshot, check sums, order and identities, recover each document. Changes nothing "
        "but what the admin says of a document's damage."
    )

    def treat(self, document: Document, options: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        verdict = verify_document(document)
        note_verdict(document.pk, verdict.damage)
        return asdict(verdict) | {
            "outcome": "damaged" if verdict.is_damaged else "good"
        }, not verdict.is_damaged

    def describe(self, result: dict[str, Any]) -> Iterator[str]:
        yield (
            f"{result['outcome']}: {result['messages']} messages in {result['batches']} batches,"
            f" {result['snapshots']} snapshots, head {result['head_seq']}"
        )
        for finding in result["findings"]:
            kind = "damage" if finding["is_damage"] else "note"
            yield f"  {kind} at seq {finding['seq']}: {finding['problem']}. {finding['hint']}".rstrip(" .")
