from django.db import migrations


class Migration(migrations.Migration):
    """The unique constraint's index begins with the same two columns: every row wrote both."""

    dependencies = [("vuer_journal", "0008_time_ordered_keys")]

    operations = [migrations.RemoveIndex(model_name="operation", name="vuer_operation_seq")]
