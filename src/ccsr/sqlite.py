"""What every SQLite file of this package has: numbered migrations, and transactions that are all or nothing.

Connections are made with `isolation_level=None`: transactions begin and end here alone.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]], newer: Exception) -> None:
    """Bring a file to the newest form, one process at a time.

    Args:
        connection: to the file; a new one has no form yet.
        migrations: numbered from 1, each some statements; the file's `user_version` is the number of the last one that
            it has been through. To this list one may only append.
        newer: raised when the file has been through more than these.
    """
    with transaction(connection):
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(migrations):
            raise newer
        for number, statements in enumerate(migrations[version:], version + 1):
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Inside, what is changed reaches the disk together at the end, or not at all; an inner one joins the outer one."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # On a full disk SQLite rolls back by itself, at times.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
