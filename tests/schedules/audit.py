"""What the journal of a site holds, found out by a process of its own that has the site's settings."""

import json

import msgspec

from tests.server import ServerProcess


class Audit(msgspec.Struct):
    """One document as its rows say."""

    truncated_seq: int
    head_seq: int
    retained: dict[int, str]
    """Id by sequence, of the messages whose batches are there; server records too."""
    clock: dict[str, int]
    """Highest counter of each client."""
    counts: dict[str, int]
    """By client: how many of its messages had an effect, by the property `count` of its own node."""
    digest: str
    damage: list[str]
    remarks: list[str]
    """Findings that are no damage."""


def audit(server: ServerProcess, slug: str) -> Audit:
    """The document as a new process finds it."""
    code = f"from tests.schedules.audit import report; print(report({slug!r}))"
    return msgspec.json.decode(server.manage("shell", "--no-imports", "-c", code), type=Audit)


def report(slug: str) -> str:
    """The audit as JSON; in a process with Django."""
    from journal.models import Document
    from journal.reader import hydrate, read_after
    from journal.verification import verify_document

    document = Document.objects.get(slug=slug)
    hydrated = hydrate(document.pk)
    verdict = verify_document(document)
    batches = read_after(document.pk, document.truncated_seq)
    found = Audit(
        truncated_seq=document.truncated_seq,
        head_seq=hydrated.head_seq,
        retained={message.server_seq: message.id for batch in batches for message in batch.messages},
        clock=dict(hydrated.graph.clock),
        counts={key: view.properties.get("count", 0) for key, view in hydrated.graph.nodes().items()},
        digest=hydrated.graph.digest(),
        damage=[finding.problem for finding in verdict.findings if finding.is_damage],
        remarks=[finding.problem for finding in verdict.findings if not finding.is_damage],
    )
    return json.dumps(msgspec.to_builtins(found, str_keys=True))


def assert_sound(found: Audit, acked: dict[str, int]) -> None:
    """Nothing is damaged, the sequence has no gap, and every acknowledged message is there once.

    `acked`: sequence by id.  Each client's messages are numbered from 1 and count one up on its own node, so
    that those folded away can be counted too.
    """
    assert found.damage == []
    assert list(found.retained) == list(range(found.truncated_seq + 1, found.head_seq + 1))
    assert len(set(found.retained.values())) == len(found.retained)
    assert len(set(acked.values())) == len(acked), "two messages at one sequence"
    for id, seq in acked.items():
        assert seq <= found.head_seq
        assert seq <= found.truncated_seq or found.retained[seq] == id
    by_client: dict[str, set[int]] = {}
    for id in acked:
        client, _, counter = id.rpartition(":")
        by_client.setdefault(client, set()).add(int(counter))
    for client, counters in by_client.items():
        assert max(counters) <= found.clock[client]
        assert found.counts[client] >= len(counters)
        if counters == set(range(1, found.clock[client] + 1)):
            assert found.counts[client] == len(counters), "one had an effect twice, or never"
