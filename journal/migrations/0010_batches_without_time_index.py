"""A page less to write for every room and commit: batches are listed by their keys, which are in order of time."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("vuer_journal", "0009_indexes_for_mongodb")]
    operations = [migrations.RemoveIndex("journalbatch", "vuer_batch_created")]
