from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("vuer_journal", "0011_snapshot_indexes"),
    ]

    operations = [
        migrations.AddField(
            model_name="document",
            name="truncated_batch",
            field=models.UUIDField(
                editable=False,
                help_text="Key of the batch that ended at that sequence: who has read it knows the journal again by "
                "it. Empty: not known.",
                null=True,
            ),
        ),
    ]
