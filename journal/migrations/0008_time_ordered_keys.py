"""New rows get keys that follow one another; old keys stay, and no table is touched."""

from django.db import migrations, models

import journal.models.row


class Migration(migrations.Migration):
    dependencies = [
        ("vuer_journal", "0007_document_turns_wanted"),
    ]
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name=name,
                    name="id",
                    field=models.UUIDField(
                        db_column="_id",
                        default=journal.models.row.new_key,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                )
                for name in ["document", "journalbatch", "operation", "sceneobject", "snapshot"]
            ]
        )
    ]
