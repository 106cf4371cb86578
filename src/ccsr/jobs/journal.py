"""What was made so far, and from what, in one SQLite file: inside a folder of results, or the user's for all others.

A result is trusted only if its line tells the same picture, the same options and the same weights. A picture is the
same where its path from the folder, its size and its date are, or else where its size and its content are: folders are
moved, disks mounted elsewhere and dates lost in copying.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from platformdirs import user_state_path

from ccsr.errors import CCSRError
from ccsr.jobs.names import JOURNAL_NAME
from ccsr.jobs.run_lock import RunLock, is_running
from ccsr.log import get_logger
from ccsr.sqlite import migrate, transaction
from ccsr.weights.manifest import file_sha256

log = get_logger(__name__)

Claim = Literal["claimed", "resumed", "done", "taken", "refused"]
"""What came of taking on a result: it is ours to make (after a run that was stopped at it: `resumed`); it was made;
another run is making it; or a file lies there that is not ours to replace."""

MIGRATIONS = (
    ["""
    CREATE TABLE results (
        output TEXT PRIMARY KEY,        -- relative to the folder, so that it may be moved
        input TEXT NOT NULL,            -- relative to the folder; absolute in lines of before version 4
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
    ["ALTER TABLE results ADD COLUMN input_sha256 TEXT"],  # of what was read; null where that is not known
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

    @cached_property
    def sha256(self) -> str | None:
        """Of the input's bytes, read when this is first asked for; None where they cannot be read."""
        try:
            return file_sha256(self.input)
        except OSError:
            return None


@dataclass(frozen=True)
class _Line:
    """One result as the journal knows it."""

    state: str
    run: str | None
    finished: float | None
    input: str
    size: int
    mtime_ns: int
    options: str
    model_sha256: str
    input_sha256: str | None


_COLUMNS = ", ".join(_Line.__dataclass_fields__)


class Journal:
    """The journal of one folder of results. Use as a context manager, or call `close`.

    `path` is the file, where it does not lie in the folder itself.

    Raises:
        CCSRError: the file is no journal, is from a newer version, or cannot be written.
    """

    def __init__(self, folder: Path, path: Path | None = None) -> None:
        self.folder = folder
        self.path = path or folder / JOURNAL_NAME
        self._run = RunLock(self.path.parent)
        with self._translated():
            self.path.parent.mkdir(parents=True, exist_ok=True)
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
        line = self._line(output)
        return line.state if line and not self._differences(line, fingerprint) else None

    def differences(self, output: Path, fingerprint: Fingerprint) -> list[str] | None:
        """In what the file at `output` was made otherwise than `fingerprint` says; None: nobody knows of making it."""
        line = self._line(output)
        return self._differences(line, fingerprint) if line and line.state == "done" else None

    def is_result_of(self, output: Path, input: Path) -> bool:
        """Whether `output` was made from a picture at `input`, however."""
        line = self._line(output)
        return line is not None and line.state == "done" and line.input == self._from_here(input)

    def claim(self, output: Path, fingerprint: Fingerprint, *, overwrite: bool = False, since: float = 0.0) -> Claim:
        """Take on `output`, so that no other run makes it too, and note that it is about to be made.

        `since` (seconds since 1970) is when this run began: with `overwrite`, only what was made after that counts as
        done. What was known about a claimed result before is forgotten.
        """
        with self._translated():
            self._run.acquire()
        if line := self._line(output):
            self._differences(line, fingerprint)  # reads the input where it must, before others have to wait for us
        with self._translated(), transaction(self._connection):
            line = self._line(output)
            was_stopped = False
            if line:
                if line.state == "started" and line.run and line.run != self._run.name and self._is_running(line.run):
                    return "taken"
                same, exists = not self._differences(line, fingerprint), os.path.lexists(output)
                if line.state == "done" and exists and same and (not overwrite or (line.finished or 0) >= since):
                    return "done"
                was_stopped = line.state == "started" and same
            if os.path.lexists(output) and not overwrite and not was_stopped:
                return "refused"
            self._connection.execute(
                "INSERT OR REPLACE INTO results (output, input, size, mtime_ns, options, model_sha256, state, run)"
                " VALUES (?, ?, ?, ?, ?, ?, 'started', ?)",
                (
                    self._key(output), self._from_here(fingerprint.input), fingerprint.size, fingerprint.mtime_ns,
                    fingerprint.options, fingerprint.model_sha256, self._run.name,
                ),
            )  # fmt: skip
        return "resumed" if was_stopped else "claimed"

    def finish(self, output: Path, seconds: float, error: str | None = None, input_sha256: str | None = None) -> None:
        """Note that a started `output` lies in its place, or why it does not."""
        state = "failed" if error else "done"
        # An undecodable file name in the message must not keep the line from being written.
        text = error.encode(errors="backslashreplace").decode() if error else None
        with self._translated():
            self._connection.execute(
                "UPDATE results SET state = ?, seconds = ?, error = ?, finished = ?, input_sha256 = ?, run = NULL"
                " WHERE output = ?",
                (state, seconds, text, time.time(), input_sha256, self._key(output)),
            )

    def note_place(self, output: Path, fingerprint: Fingerprint) -> None:
        """Note where the picture of a done result lies now, and its date, so that its content need not be read to know
        it the next time."""
        line, place = self._line(output), self._from_here(fingerprint.input)
        if line is None or (line.input, line.mtime_ns) == (place, fingerprint.mtime_ns):
            return
        with self._translated():
            self._connection.execute(
                "UPDATE results SET input = ?, mtime_ns = ? WHERE output = ?",
                (place, fingerprint.mtime_ns, self._key(output)),
            )

    def _line(self, output: Path) -> _Line | None:
        with self._translated():
            row = self._connection.execute(
                f"SELECT {_COLUMNS} FROM results WHERE output = ?",  # noqa: S608 -- names of our own
                (self._key(output),),
            ).fetchone()
        return _Line(*row) if row else None

    def _differences(self, line: _Line, fingerprint: Fingerprint) -> list[str]:
        found = []
        if not self._same_picture(line, fingerprint):
            found.append("from another picture")
        if line.options != fingerprint.options:
            found.append("with other options")
        if line.model_sha256 != fingerprint.model_sha256:
            found.append("with other weights")
        return found

    def _same_picture(self, line: _Line, fingerprint: Fingerprint) -> bool:
        if line.size != fingerprint.size:
            return False
        places = (self._from_here(fingerprint.input), _text(Path(os.path.abspath(fingerprint.input))))
        # Of a result that was never finished no content is noted; where its folder was moved, the name has to do.
        is_there = line.input in places or (
            line.state == "started" and Path(line.input).name == Path(_text(fingerprint.input)).name
        )
        if is_there and line.mtime_ns == fingerprint.mtime_ns:
            return True
        return line.input_sha256 is not None and line.input_sha256 == fingerprint.sha256

    def _is_running(self, run: str) -> bool:
        return is_running(self.path.parent, run)

    def _key(self, output: Path) -> str:
        return _text(output.relative_to(self.folder))

    def _from_here(self, input: Path) -> str:
        """Path from the folder: both may be moved together."""
        absolute = os.path.abspath(input)
        try:
            return _text(Path(os.path.relpath(absolute, self.folder)))
        except ValueError:  # on another drive of Windows
            return _text(Path(absolute))

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


class UserJournal(Journal):
    """Where results beside their inputs are noted, and those of a name of their own: one file for a user.

    Raises:
        CCSRError: as `Journal`.
    """

    def __init__(self) -> None:
        place = self.place()
        with suppress(OSError):  # told below
            # What somebody enlarges is nobody else's business.
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch(mode=0o600)
        super().__init__(Path(place.anchor), place)

    @staticmethod
    def place() -> Path:
        """`CCSR_HOME`, or where the platform keeps what programs remember."""
        home = os.environ.get("CCSR_HOME")
        return (Path(home) if home else user_state_path("ccsr", appauthor=False)) / "results.sqlite"

    def _line(self, output: Path) -> _Line | None:
        try:
            return super()._line(output)
        except CCSRError as error:  # no reason to stop a job that needs nothing of it
            log.debug("%s", error)
            return None

    def _key(self, output: Path) -> str:
        return _text(Path(os.path.abspath(output)))

    def _from_here(self, input: Path) -> str:
        return _text(Path(os.path.abspath(input)))


class Journals:
    """The journals of a job's folders, each opened once and closed with the stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._open: dict[Path | None, Journal] = {}

    def of(self, folder: Path | None) -> Journal | None:
        """The journal of a folder, made where there is none; for None the user's, or None where that cannot be used."""
        journal = self._open.get(folder)
        if journal and not journal.path.exists():
            if folder is not None:
                log.warning("%s was removed while this job was running, and is made again", folder)
            journal.close()
            journal = None
        if journal is None:
            try:
                made = Journal(folder) if folder is not None else UserJournal()
            except CCSRError as error:
                if folder is not None:
                    raise
                # The result counts; who cannot note it will be told later that nobody knows of it.
                log.debug("%s", error)
                return None
            journal = self._open[folder] = self._stack.enter_context(made)
        return journal

    def existing(self, folder: Path | None) -> Journal | None:
        """The same, but never makes one: what only looks must not write."""
        path = UserJournal.place() if folder is None else folder / JOURNAL_NAME
        return self.of(folder) if path.exists() else None


def _text(path: Path) -> str:
    """A path as SQLite can hold it: names need not be UTF-8."""
    return path.as_posix().encode(errors="surrogateescape").decode(errors="backslashreplace")
