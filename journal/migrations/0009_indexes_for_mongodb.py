"""SQL databases look rows up by their unique constraints; the indexes beside those are left to MongoDB."""

from django.db import migrations

from journal.models.row import MongoIndex

INDEXES = {
    "document": MongoIndex(fields=["slug"], name="vuer_document_slug"),
    "operation": MongoIndex(fields=["document", "server_seq"], name="vuer_operation_seq"),
    "sceneobject": MongoIndex(fields=["document", "key"], name="vuer_object_key"),
}


class Migration(migrations.Migration):
    dependencies = [("vuer_journal", "0008_time_ordered_keys")]
    operations = [
        operation
        for model, index in INDEXES.items()
        for operation in (migrations.RemoveIndex(model, index.name), migrations.AddIndex(model, index))
    ]
