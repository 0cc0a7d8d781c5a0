from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("vuer_journal", "0006_snapshot_origin"),
    ]

    operations = [
        migrations.AddField(
            model_name="document",
            name="turns_wanted",
            field=models.BigIntegerField(
                default=0,
                editable=False,
                help_text="Counts how often a process that kept losing races asked the others for a turn.",
            ),
        ),
    ]
