"""Migrations and transactions of the files that this package keeps."""

import sqlite3
import threading
from pathlib import Path

import pytest

from ccsr.sqlite import migrate, transaction

MIGRATIONS = [["CREATE TABLE a (x)", "CREATE TABLE b (y)"], ["ALTER TABLE a ADD COLUMN z"], ["DROP TABLE b"]]


class NewerError(Exception):
    pass


def opened(path: Path, timeout: float = 0) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)


def form(connection: sqlite3.Connection) -> tuple[int, list[str]]:
    tables = [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master ORDER BY name")]
    return connection.execute("PRAGMA user_version").fetchone()[0], tables


def test_a_file_of_any_age_comes_to_the_newest_form(tmp_path: Path) -> None:
    forms = []
    for age in range(len(MIGRATIONS) + 1):
        connection = opened(tmp_path / f"{age}.sqlite")
        migrate(connection, MIGRATIONS[:age], NewerError())
        assert form(connection)[0] == age
        migrate(connection, MIGRATIONS, NewerError())
        forms.append(form(connection))
    assert forms == [(3, ["CREATE TABLE a (x, z)"])] * 4


def test_a_newer_file_is_left_as_it_is(tmp_path: Path) -> None:
    connection = opened(tmp_path / "a.sqlite")
    migrate(connection, MIGRATIONS, NewerError())
    before = form(connection)
    with pytest.raises(NewerError):
        migrate(connection, MIGRATIONS[:1], NewerError())
    assert form(connection) == before
    assert not connection.in_transaction


def test_a_migration_that_fails_leaves_the_form_before_it(tmp_path: Path) -> None:
    connection = opened(tmp_path / "a.sqlite")
    migrate(connection, MIGRATIONS[:1], NewerError())
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, [MIGRATIONS[0], ["CREATE TABLE c (x)", "nonsense"]], NewerError())
    assert form(connection) == (1, ["CREATE TABLE a (x)", "CREATE TABLE b (y)"])


def test_many_open_a_new_file_at_once(tmp_path: Path) -> None:
    connections = [opened(tmp_path / "a.sqlite", 60) for _ in range(6)]
    errors: list[BaseException] = []

    def work(connection: sqlite3.Connection) -> None:
        try:
            migrate(connection, MIGRATIONS, NewerError())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(c,)) for c in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {form(c)[0] for c in connections} == {3}


def test_an_inner_transaction_joins_the_outer_one(tmp_path: Path) -> None:
    connection, other = opened(tmp_path / "a.sqlite"), opened(tmp_path / "a.sqlite")
    migrate(connection, MIGRATIONS, NewerError())

    def stopped() -> None:
        with transaction(connection):
            with transaction(connection):
                connection.execute("INSERT INTO a VALUES (1, 2)")
            assert other.execute("SELECT count(*) FROM a").fetchone() == (0,), "not before the outer one ends"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert connection.execute("SELECT count(*) FROM a").fetchone() == (0,)
    with transaction(connection), transaction(connection):
        connection.execute("INSERT INTO a VALUES (1, 2)")
    assert other.execute("SELECT count(*) FROM a").fetchone() == (1,)
