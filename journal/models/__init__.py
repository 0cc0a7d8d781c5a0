"""Rows of the durable side.  FORMAT.md states their invariants as rules.

Every primary key is an explicit UUID in column `_id`, and ordinary indexes stand beside the unique ones that
are queried: so one set of migrations serves SQLite, PostgreSQL and MongoDB.  `JournalBatch` and `Snapshot`
are the truth; `Operation` and `SceneObject` are projections and can be rebuilt; `Document` points into its
journal.
"""

from journal.models.document import Document, document_checks
from journal.models.journal_batch import JournalBatch
from journal.models.operation import Operation
from journal.models.row import KEY_CHARS_MAX, PrimaryManager
from journal.models.scene_object import SceneObject
from journal.models.snapshot import Snapshot

__all__ = [
    "KEY_CHARS_MAX",
    "Document",
    "JournalBatch",
    "Operation",
    "PrimaryManager",
    "SceneObject",
    "Snapshot",
    "document_checks",
]
