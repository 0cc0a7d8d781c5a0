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
from journal.column import bounded, is_stored, moment, storable
from journal.durability import journal_alias
from journal.models import SceneObject
from journal.models.row import new_key
from journal.row_insert import Row, Table, is_fast
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


COLUMNS = ("id", "document_id", "key", *OBJECT_FIELDS)
UPDATES = ", ".join(f"{name} = excluded.{name}" for name in OBJECT_FIELDS)
TABLE = Table(SceneObject, COLUMNS, f"(document_id, key) DO UPDATE SET {UPDATES}")


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


class Drafted(NamedTuple):
    """What is to be written of `Objects`."""

    objects: Objects
    rows: list[Row]
    """Adapted."""
    gone: list[str]
    """Keys."""


def draft_objects(objects: Objects) -> Drafted | None:
    """What can be done before the transaction; None where rows cannot be inserted and updated in one, so that it has to
    look at those that are there.

    Of a whole document, most of whose rows may be there as they are to be, only what differs: it stays so while nobody
    else writes the document's rows.
    """
    connection = connections[journal_alias()]
    if not is_fast(connection):
        return None
    document_id, seq, nodes, is_whole = objects
    if is_whole:
        changed, gone = _differing(objects, _rows_there([objects]).get(document_id, {}))
        rows = [tuple(getattr(row, column) for column in COLUMNS) for row in changed]
    else:
        wanted = {bounded(key): view for key, view in nodes.items()}  # two keys may look the same in a column
        rows = [
            object_values(document_id, key, view, seq) for key, view in wanted.items() if view is not None
        ]
        gone = [key for key, view in wanted.items() if view is None]
    return Drafted(objects, TABLE.adapted(connection, rows), gone)


def write_objects(drafts: Sequence[Drafted]) -> None:
    """Afterwards the rows are as they are to be; of each document once."""
    TABLE.insert(connections[journal_alias()], [row for draft in drafts for row in draft.rows])
    for draft in drafts:
        for keys in chunks(draft.gone):
            SceneObject.objects.filter(document=draft.objects.document_id, key__in=keys).delete()


def write_what_differs(several: Sequence[Objects]) -> None:
    """The same, after a look at the rows that are there."""
    there = _rows_there(several)
    changed: list[SceneObject] = []
    for objects in several:
        known = there.get(objects.document_id, {})
        differing, gone = _differing(objects, known)
        changed += differing
        for some in chunks([known[key].pk for key in gone]):
            SceneObject.objects.filter(pk__in=some).delete()
    _upsert(changed, there)


def _differing(objects: Objects, known: Mapping[str, SceneObject]) -> tuple[list[SceneObject], list[str]]:
    """The rows to write, and the keys of those to delete."""
    document_id, seq, nodes, _ = objects
    wanted = {bounded(key): view for key, view in nodes.items()}
    rows = [object_row(document_id, key, view, seq) for key, view in wanted.items() if view is not None]
    changed = [row for row in rows if not _is_same(known.get(row.key), row)]
    return changed, [key for key in known if wanted.get(key) is None]


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
    return SceneObject(**dict(zip(COLUMNS, object_values(document_id, key, view, seq), strict=True)))


def object_values(document_id: UUID, key: str, view: NodeView, seq: int) -> Row:
    """The same, in the order of `COLUMNS`."""
    return (
        new_key(),
        document_id,
        key,
        bounded(view.tag),
        storable(view.name),
        bounded(view.parent),
        storable(view.properties),
        view.deleted,
        view.hidden,
        view.lt,
        moment(view.updated_at),
        seq,
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
        is_stored(getattr(there, name), getattr(row, name)) for name in OBJECT_FIELDS if name != "seq"
    )


def _upsert(rows: Sequence[SceneObject], there: Rows) -> None:
    connection = connections[journal_alias()]
    if is_fast(connection):
        values = [tuple(getattr(row, column) for column in COLUMNS) for row in rows]
        TABLE.insert(connection, TABLE.adapted(connection, values))
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
    SceneObject.objects.bulk_create(new, settings.projection_rows_max)
    update_rows(known, OBJECT_FIELDS)
