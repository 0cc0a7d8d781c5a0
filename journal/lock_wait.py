"""How long a transaction waits for a lock that somebody else holds: PostgreSQL by itself waits for ever.

A form of the site that selects a document's row for update, a forgotten shell, an index that is being built: whoever
works for everybody must not stand behind these.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections, transaction

COMMIT_MS = 500
"""Of a commit, for which all rooms of the process wait."""
PATIENCE_MS = 2000
"""Of what else live rooms write."""


@contextmanager
def impatient(alias: str) -> Iterator[None]:
    """On PostgreSQL a transaction that fails rather than wait for long; elsewhere, and inside a transaction of the
    caller's, nothing.

    Raises: OperationalError, of `lock_not_available`.
    """
    connection = connections[alias]
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        yield
        return
    with transaction.atomic(using=alias):
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {PATIENCE_MS}")  # a pooler may share the session
        yield
