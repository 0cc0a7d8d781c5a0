"""While a site is updated, servers of the version before are at work on tables that are migrated already."""

import pytest
from django.db.migrations import operations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation

BEFORE_THE_FIRST_RELEASE = {
    ("vuer_journal", "0003_document_access_version"),
    ("vuer_journal", "0004_document_condition"),
    ("vuer_journal", "0005_document_damage"),
    ("vuer_journal", "0007_document_turns_wanted"),
    ("vuer_rooms", "0004_session_closed_by"),
}
"""No others: who ran those had nobody join, or no document made, by servers that had not been started again."""
TAKES_AWAY = (
    operations.RemoveField,
    operations.RenameField,
    operations.DeleteModel,
    operations.RenameModel,
    operations.AlterModelTable,
)


def is_in_the_way(operation: Operation) -> bool:
    """Whether code that knows nothing of it can no longer read its rows, or insert new ones."""
    if isinstance(operation, operations.SeparateDatabaseAndState):
        return any(map(is_in_the_way, operation.database_operations))
    if isinstance(operation, operations.AddField):
        field = operation.field
        return not (field.null or field.many_to_many or field.has_db_default())
    return isinstance(operation, TAKES_AWAY)


@pytest.mark.parametrize("app", ["vuer_journal", "vuer_rooms"])
def test_servers_of_the_version_before_can_work_on_migrated_tables(app: str) -> None:
    migrations = MigrationLoader(None).disk_migrations
    found = {key for key, found in migrations.items() if any(map(is_in_the_way, found.operations))}
    assert {key for key in found if key[0] == app} == {
        key for key in BEFORE_THE_FIRST_RELEASE if key[0] == app
    }
