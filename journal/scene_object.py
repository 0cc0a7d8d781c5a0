"""Rows of scene objects: the nodes of a document as its graph has them (rule J16)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import groupby
from operator import itemgetter, or_
from typing import NamedTuple
from uuid import UUID

from django.db import connections
from django.db.models import Q

from journal.chunk import chunks
from journal.column import bounded, moment, storable
from journal.durability import journal_alias
from journal.models import SceneObject
from journal.row_update import update_rows
from journal.settings import settings
from vuer_rtc.crdt.graph import NodeView

Nodes = Mapping[str, NodeView | None]
"""Nodes by key; None: a node that is no longer part of the state, not even as a tombstone."""

OBJECT_FIELDS = (
    "tag",
    "name",
    "parent",
    "properties",
    "is_tombstone",
    "is_hidden",
    "lt",
    "updated_at",
    "seq",
)


class Objects(NamedTuple):
    """What rows of one document are to be."""

    document_id: UUID
    seq: int
    """Of the state that the nodes are taken from."""
    nodes: Nodes
    is_whole: bool
    """There are to be no others."""


Rows = dict[UUID, dict[str, SceneObject]]
"""By document and key."""


def write_objects(several: Sequence[Objects]) -> None:
    """Afterwards the rows of those nodes are as they are to be; of each document once."""
    there = _rows_there(several)
    changed: list[SceneObject] = []
    gone: list[UUID] = []
    for document_id, seq, nodes, _ in several:
        wanted = {bounded(key): view for key, view in nodes.items()}
        known = there.get(document_id, {})
        rows = [object_row(document_id, key, view, seq) for key, view in wanted.items() if view is not None]
        changed += [row for row in rows if not _is_same(known.get(row.key), row)]
        gone += [row.pk for key, row in known.items() if wanted.get(key) is None]
    for some in chunks(gone):
        SceneObject.objects.filter(pk__in=some).delete()
    _upsert(changed, there)


def covers_flips(objects: Objects) -> bool:
    """True when below each node that its row says hidden and that is not, or the other way about, all are among the
    nodes: they have been hidden or shown with it."""
    nodes = objects.nodes
    hidden = {row.key: row.is_hidden for row in _read([objects])}
    return all(
        bounded(key) not in hidden
        if view is None  # what was below it is not told
        else hidden.get(bounded(key), True) is view.hidden or all(child in nodes for child in view.children)
        for key, view in nodes.items()
    )


def object_row(document_id: UUID, key: str, view: NodeView, seq: int) -> SceneObject:
    """The row of one node, not saved."""
    return SceneObject(
        document_id=document_id,
        key=key,
        tag=bounded(view.tag),
        name=storable(view.name),
        parent=bounded(view.parent),
        properties=storable(view.properties),
        is_tombstone=view.deleted,
        is_hidden=view.hidden,
        lt=view.lt,
        updated_at=moment(view.updated_at),
        seq=seq,
    )


def _rows_there(several: Iterable[Objects]) -> Rows:
    """The rows that may have to change."""
    found: Rows = {}
    for row in _read(several):
        found.setdefault(row.document_id, {})[row.key] = row
    return found


def _read(several: Iterable[Objects]) -> Iterator[SceneObject]:
    rows = SceneObject.objects.order_by()
    places: list[tuple[UUID, str]] = []
    for document_id, _, nodes, is_whole in several:
        if is_whole:
            yield from rows.filter(document=document_id).iterator(chunk_size=1000)
        else:
            places += [(document_id, bounded(key)) for key in nodes]
    for some in chunks(places):
        by_document = groupby(some, itemgetter(0))
        wanted = [
            Q(document=document_id, key__in=[key for _, key in those]) for document_id, those in by_document
        ]
        yield from rows.filter(reduce(or_, wanted))


def _is_same(there: SceneObject | None, row: SceneObject) -> bool:
    """True when only `seq` differs: such rows are left alone."""
    return there is not None and all(
        getattr(there, name) == getattr(row, name) for name in OBJECT_FIELDS if name != "seq"
    )


def _upsert(rows: Sequence[SceneObject], there: Rows) -> None:
    alias, size = journal_alias(), settings.projection_rows_max
    objects = SceneObject.objects
    if connections[alias].features.supports_update_conflicts_with_target:
        objects.bulk_create(
            rows, size, update_conflicts=True, update_fields=OBJECT_FIELDS, unique_fields=("document", "key")
        )
        return
    new: list[SceneObject] = []
    known: list[SceneObject] = []
    for row in rows:
        before = there.get(row.document_id, {}).get(row.key)
        if before is None:
            new.append(row)
        else:
            row.pk = before.pk
            known.append(row)
    objects.bulk_create(new, size)
    update_rows(known, OBJECT_FIELDS)
