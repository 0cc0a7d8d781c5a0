"""Snapshots are chosen and listed by indexes, without a look at the rows of thousands of labels."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("vuer_journal", "0010_batches_without_time_index")]
    operations = [
        migrations.RemoveIndex("snapshot", "vuer_snapshot_seq"),
        migrations.AddIndex(
            "snapshot", models.Index(fields=["document", "seq", "reason"], name="vuer_snapshot_seq_reason")
        ),
        migrations.AddIndex("snapshot", models.Index(fields=["created_at"], name="vuer_snapshot_created")),
    ]
