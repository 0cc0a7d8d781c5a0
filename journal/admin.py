"""The journal in the admin: who changed this object, when, from what.  Read-only but for a document's own
settings."""

from django.contrib import admin

from journal.admin_document import DocumentAdmin
from journal.admin_object import SceneObjectAdmin
from journal.admin_operation import OperationAdmin
from journal.admin_storage import JournalBatchAdmin, SnapshotAdmin
from journal.models import Document, JournalBatch, Operation, SceneObject, Snapshot

admin.site.register(Document, DocumentAdmin)
admin.site.register(JournalBatch, JournalBatchAdmin)
admin.site.register(Operation, OperationAdmin)
admin.site.register(SceneObject, SceneObjectAdmin)
admin.site.register(Snapshot, SnapshotAdmin)
