"""J9: what is acknowledged can be found again, under the name of the database."""

import shutil
from pathlib import Path

import pytest
from django.db.backends.sqlite3.base import DatabaseWrapper

from journal.error import JournalUnavailable
from journal.sqlite_file import refuse_moved
from tests.journal.sqlite import sqlite_connection

pytestmark = pytest.mark.django_db


def is_moved(connection: DatabaseWrapper) -> bool:
    try:
        refuse_moved(connection)
    except JournalUnavailable:
        return True
    return False


def test_a_file_that_was_moved_deleted_or_replaced_is_another(tmp_path: Path) -> None:
    connection, path, aside = sqlite_connection(tmp_path), tmp_path / "own.sqlite3", tmp_path / "aside"
    connection.connect()
    assert not is_moved(connection)
    path.rename(aside)
    assert is_moved(connection)
    shutil.copyfile(aside, path)
    assert is_moved(connection)
    aside.replace(path)
    assert not is_moved(connection)
    path.unlink()
    assert is_moved(connection)
    connection.close()
    connection.connect()
    assert not is_moved(connection)
    connection.close()


@pytest.mark.parametrize("name", [":memory:", "file:own?mode=memory&cache=shared"])
def test_what_is_in_memory_has_no_file(tmp_path: Path, name: str) -> None:
    connection = sqlite_connection(tmp_path, "")
    connection.settings_dict["NAME"] = name
    connection.connect()
    assert not is_moved(connection)
    connection.close()
