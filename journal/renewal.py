"""Sessions with the database that are not worth keeping."""

from contextlib import suppress

from journal.durability import Connection


def renew_if_dead(connection: Connection) -> None:
    """Afterwards the next query of this connection finds a session that lives, or makes one."""
    with suppress(NotImplementedError):  # MongoDB's driver sees to that itself
        if connection.connection is not None and not connection.is_usable():
            renew(connection)


def renew(connection: Connection) -> None:
    """Ends the session, whatever ails it, and those that are dead in its pool: each would turn away whoever gets it
    next."""
    if connection.connection is not None:
        with suppress(connection.Database.Error):
            connection.connection.close()  # else the pool would have it back
    connection.close()
    if (pool := getattr(connection, "pool", None)) is not None:
        pool.check()
