"""What a folder job has done so far, in one SQLite file inside the folder of results.

A result is trusted only if its line tells the same input (path, size, time), the same options and the same weights.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ccsr.errors import CCSRError
from ccsr.jobs.names import JOURNAL_NAME
from ccsr.jobs.run_lock import RunLock, is_running
from ccsr.log import get_logger
from ccsr.sqlite import migrate, transaction

log = get_logger(__name__)

Claim = Literal["claimed", "resumed", "done", "taken", "refused"]
"""What came of taking on a result: it is ours to make (after a run that was stopped at it: `resumed`); it was made;
another run is making it; or a file lies there that is not ours to replace."""

MIGRATIONS = (
    ["""
    CREATE TABLE results (
        output TEXT PRIMARY KEY,        -- relative to the folder, so that it may be moved
        input TEXT NOT NULL,            -- absolute
        size INTEGER NOT NULL,          -- bytes of the input
        mtime_ns INTEGER NOT NULL,      -- modification time of the input
        options TEXT NOT NULL,          -- hash of all that decides the result's bytes
        model_sha256 TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('started', 'done', 'failed')),
        seconds REAL,
        error TEXT
    ) WITHOUT ROWID
    """],
    ["ALTER TABLE results ADD COLUMN run TEXT"],  # the run that makes the result, while it does: see `run_lock`
    ["ALTER TABLE results ADD COLUMN finished REAL"],  # seconds since 1970
)  # fmt: skip
"""See `sqlite.migrate`; only append."""


@dataclass(frozen=True)
class Fingerprint:
    """What a result is made from; two equal ones promise equal bytes."""

    input: Path
    size: int
    mtime_ns: int
    options: str
    model_sha256: str


class Journal:
    """The journal of one folder of results. Use as a context manager, or call `close`.

    Raises:
        CCSRError: the file is no journal, is from a newer version, or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / JOURNAL_NAME
        self._run = RunLock(folder)
        with self._translated():
            folder.mkdir(parents=True, exist_ok=True)
            # Another process may write the same folder; its turns are short.
            self._connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        newer = CCSRError("the journal is from a newer version", path=self.path, hint="update ccsr, or use another -o")
        try:
            with self._translated():
                migrate(self._connection, MIGRATIONS, newer)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
        self._run.release()

    def state_of(self, output: Path, fingerprint: Fingerprint) -> str | None:
        """`started`, `done` or `failed` if the line of `output` was made from exactly `fingerprint`, else None."""
        with self._translated():
            row = self._connection.execute(
                "SELECT state FROM results WHERE output = ? AND input = ? AND size = ? AND mtime_ns = ?"
                " AND options = ? AND model_sha256 = ?",
                (self._key(output), *self._values(fingerprint)),
            ).fetchone()
        return row[0] if row else None

    def claim(self, output: Path, fingerprint: Fingerprint, *, overwrite: bool = False, since: float = 0.0) -> Claim:
        """Take on `output`, so that no other run makes it too, and note that it is about to be made.

        `since` (seconds since 1970) is when this run began: with `overwrite`, only what was made after that counts as
        done. What was known about a claimed result before is forgotten.
        """
        key, values = self._key(output), self._values(fingerprint)
        with self._translated():
            self._run.acquire()
        with self._translated(), transaction(self._connection):
            row = self._connection.execute(
                "SELECT state, run, finished, input, size, mtime_ns, options, model_sha256 FROM results"
                " WHERE output = ?",
                (key,),
            ).fetchone()
            was_stopped = False
            if row:
                state, run, finished, *made_from = row
                if state == "started" and run and run != self._run.name and is_running(self.folder, run):
                    return "taken"
                same, exists = tuple(made_from) == values, os.path.lexists(output)
                if state == "done" and exists and same and (not overwrite or (finished or 0) >= since):
                    return "done"
                was_stopped = state == "started" and same
            if os.path.lexists(output) and not overwrite and not was_stopped:
                return "refused"
            self._connection.execute(
                "INSERT OR REPLACE INTO results (output, input, size, mtime_ns, options, model_sha256, state, run)"
                " VALUES (?, ?, ?, ?, ?, ?, 'started', ?)",
                (key, *values, self._run.name),
            )
        return "resumed" if was_stopped else "claimed"

    def finish(self, output: Path, seconds: float, error: str | None = None) -> None:
        """Note that a started `output` lies in its place, or why it does not."""
        state = "failed" if error else "done"
        # An undecodable file name in the message must not keep the line from being written.
        text = error.encode(errors="backslashreplace").decode() if error else None
        with self._translated():
            self._connection.execute(
                "UPDATE results SET state = ?, seconds = ?, error = ?, finished = ?, run = NULL WHERE output = ?",
                (state, seconds, text, time.time(), self._key(output)),
            )

    def _key(self, output: Path) -> str:
        return _text(output.relative_to(self.folder))

    def _values(self, fingerprint: Fingerprint) -> tuple[str, int, int, str, str]:
        absolute = Path(os.path.abspath(fingerprint.input))
        return _text(absolute), fingerprint.size, fingerprint.mtime_ns, fingerprint.options, fingerprint.model_sha256

    @contextmanager
    def together(self) -> Iterator[None]:
        """Inside, all claims reach the disk at once, at the end: for very many of them."""
        with self._translated(), transaction(self._connection):
            yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            raise CCSRError(
                f"the journal cannot be used: {error}",
                path=self.path,
                hint="make room and run again" if is_full else "remove it to start anew, or use another -o",
            ) from error


class Journals:
    """The journals of a job's folders, each opened once and closed with the stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._open: dict[Path, Journal] = {}

    def of(self, folder: Path | None) -> Journal | None:
        """The journal of a folder, made where there is none; None for None."""
        if folder is None:
            return None
        journal = self._open.get(folder)
        if journal and not journal.path.exists():
            log.warning("%s was removed while this job was running, and is made again", folder)
            journal.close()
            journal = None
        if journal is None:
            journal = self._open[folder] = self._stack.enter_context(Journal(folder))
        return journal

    def existing(self, folder: Path | None) -> Journal | None:
        """The same, but never makes one: what only looks must not write."""
        return self.of(folder) if folder is not None and (folder / JOURNAL_NAME).exists() else None


def _text(path: Path) -> str:
    """A path as SQLite can hold it: names need not be UTF-8."""
    return path.as_posix().encode(errors="surrogateescape").decode(errors="backslashreplace")
