"""Jobs that survive a restart: one SQLite file for what is known, one folder per job for its pictures.

DATA/jobs.sqlite
DATA/jobs/ID/input/000.jpg      uploads under names of our own
DATA/jobs/ID/mask.png           the mask that came with them, if one did
DATA/jobs/ID/result/...         results, with the journal that lets a stopped job go on
DATA/jobs/ID/spread/000.npy     standard deviation over the samples of one picture
"""

import json
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ccsr.errors import CCSRError, DiskFullError
from ccsr.serve.errors import is_disk_full
from ccsr.sqlite import migrate, transaction

State = Literal["queued", "running", "done", "failed", "cancelled"]
FINAL: tuple[State, ...] = ("done", "failed", "cancelled")

MIGRATIONS = ([
    """
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        number INTEGER NOT NULL UNIQUE,  -- order of arrival
        state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
        transient INTEGER NOT NULL,      -- a call that waits for its answer: worth nothing without the caller
        created REAL NOT NULL,           -- seconds since 1970
        finished REAL,
        options TEXT NOT NULL,           -- JSON object, as asked for
        flops REAL NOT NULL,             -- work of all results, as planned
        error TEXT,
        status INTEGER                   -- HTTP status of that error
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE inputs (
        job TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE,
        number INTEGER NOT NULL,
        name TEXT NOT NULL,              -- as the client calls it; shown, never opened
        stored TEXT NOT NULL,            -- file in the job's folder
        spread TEXT,                     -- JSON: what is known of the samples' standard deviation
        PRIMARY KEY (job, number)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE results (
        job TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE,
        number INTEGER NOT NULL,
        input INTEGER NOT NULL,
        sample INTEGER NOT NULL,
        name TEXT,                       -- for downloads
        stored TEXT,                     -- file in the job's folder; null where it failed
        record TEXT NOT NULL,            -- JSON: the line of --json
        PRIMARY KEY (job, number)
    ) WITHOUT ROWID
    """,
],)  # fmt: skip
"""See `sqlite.migrate`; only append."""


@dataclass(frozen=True)
class Input:
    """One uploaded picture."""

    number: int
    name: str
    stored: str
    spread: dict[str, Any] | None = None


@dataclass(frozen=True)
class Result:
    """What became of one result of a job."""

    number: int
    input: int
    sample: int
    name: str | None
    stored: str | None
    record: dict[str, Any]


@dataclass(frozen=True)
class StoredJob:
    """All that is kept of a job."""

    id: str
    state: State
    transient: bool
    created: float
    options: dict[str, Any]
    flops: float
    finished: float | None = None
    error: str | None = None
    status: int | None = None
    inputs: tuple[Input, ...] = ()
    results: tuple[Result, ...] = field(default=(), repr=False)


class Store:
    """The jobs of one data folder; every method may be called from any thread.

    Raises:
        CCSRError: the folder cannot be used, or belongs to a server that runs or to a newer version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        with self._translated():
            # Other people's photos are nobody else's business.
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (folder / "jobs").mkdir(exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(folder / "jobs.sqlite", timeout=1, isolation_level=None, check_same_thread=False)
        newer = CCSRError("the jobs are from a newer version", path=folder, hint="update ccsr, or use another --data")
        try:
            with self._translated():
                # One server per folder: two would run each other's jobs.
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA foreign_keys = ON")
                migrate(self._db, MIGRATIONS, newer)  # takes the lock at once, and not with the first job
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the folder."""
        with self._lock:
            self._db.close()

    def folder_of(self, job: str) -> Path:
        """Where a job's pictures lie."""
        return self.folder / "jobs" / job

    def new_id(self) -> str:
        """An id nobody can guess; its folder exists from now on."""
        job = secrets.token_hex(12)
        with self._translated():
            (self.folder_of(job) / "input").mkdir(parents=True)
        return job

    def add(self, job: StoredJob) -> None:
        """Keep a new job and its inputs."""
        with self._changing() as db:
            number = db.execute("SELECT coalesce(max(number), 0) + 1 FROM jobs").fetchone()[0]
            db.execute(
                "INSERT INTO jobs (id, number, state, transient, created, options, flops) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (job.id, number, job.state, job.transient, job.created, json.dumps(job.options), job.flops),
            )
            db.executemany(
                "INSERT INTO inputs (job, number, name, stored) VALUES (?, ?, ?, ?)",
                [(job.id, i.number, i.name, i.stored) for i in job.inputs],
            )

    def set_state(self, job: str, state: State, error: str | None = None, status: int | None = None) -> None:
        """Note how a job stands; the end's time is kept."""
        finished = time.time() if state in FINAL else None
        with self._changing() as db:
            db.execute(
                "UPDATE jobs SET state = ?, finished = ?, error = ?, status = ? WHERE id = ?",
                (state, finished, error, status, job),
            )

    def add_result(self, job: str, result: Result) -> None:
        """Keep a result; one that is known already stays as it is."""
        record = json.dumps(result.record)
        with self._changing() as db:
            db.execute(
                "INSERT OR IGNORE INTO results (job, number, input, sample, name, stored, record)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    job,
                    result.number,
                    result.input,
                    result.sample,
                    result.name,
                    result.stored,
                    record,
                ),
            )

    def set_spread(self, job: str, number: int, spread: dict[str, Any]) -> None:
        """Keep what is known of the samples of one input."""
        with self._changing() as db:
            db.execute("UPDATE inputs SET spread = ? WHERE job = ? AND number = ?", (json.dumps(spread), job, number))

    def get(self, job: str) -> StoredJob | None:
        """A job with its inputs and results."""
        with self._lock, self._translated():
            row = self._db.execute(
                "SELECT id, state, transient, created, finished, options, flops, error, status FROM jobs WHERE id = ?",
                (job,),
            ).fetchone()
            if row is None:
                return None
            inputs = self._db.execute(
                "SELECT number, name, stored, spread FROM inputs WHERE job = ? ORDER BY number", (job,)
            ).fetchall()
            results = self._db.execute(
                "SELECT number, input, sample, name, stored, record FROM results WHERE job = ? ORDER BY number", (job,)
            ).fetchall()
        id, state, transient, created, finished, options, flops, error, status = row
        return StoredJob(
            id, state, bool(transient), created, json.loads(options), flops, finished, error, status,
            tuple(Input(n, name, stored, json.loads(spread) if spread else None) for n, name, stored, spread in inputs),
            tuple(Result(n, i, sample, name, stored, json.loads(r)) for n, i, sample, name, stored, r in results),
        )  # fmt: skip

    def unfinished(self) -> list[str]:
        """Ids of the jobs that an earlier server left, in their order."""
        with self._lock, self._translated():
            rows = self._db.execute(
                "SELECT id FROM jobs WHERE state IN ('queued', 'running') AND NOT transient ORDER BY number"
            )
            return [row[0] for row in rows]

    def remove(self, job: str) -> None:
        """Forget a job and delete its pictures."""
        with self._changing() as db:
            db.execute("DELETE FROM jobs WHERE id = ?", (job,))
        shutil.rmtree(self.folder_of(job), ignore_errors=True)

    def sweep(self, finished_before: float, *, at_start: bool = False) -> list[str]:
        """Remove what ended before that time; at start also calls without a caller and folders without a job."""
        with self._lock, self._translated():
            old = [row[0] for row in self._db.execute("SELECT id FROM jobs WHERE finished < ?", (finished_before,))]
            if at_start:
                old += [row[0] for row in self._db.execute("SELECT id FROM jobs WHERE transient")]
                known = {row[0] for row in self._db.execute("SELECT id FROM jobs")}
                old += [f.name for f in (self.folder / "jobs").iterdir() if f.name not in known]
        for job in old:
            self.remove(job)
        return old

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translated(), transaction(self._db):
            yield self._db

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise CCSRError(
                    "another server uses this folder", path=self.folder, hint="stop it, or use another --data"
                ) from error
            if "full" in str(error):
                raise DiskFullError("the jobs cannot be kept: the disk is full", hint="make room") from error
            raise CCSRError(f"the jobs cannot be kept: {error}", path=self.folder, hint="try another --data") from error
        except (sqlite3.Error, OSError) as error:
            if is_disk_full(error):
                raise DiskFullError("the jobs cannot be kept: the disk is full", hint="make room") from error
            raise CCSRError(f"the jobs cannot be kept: {error}", path=self.folder, hint="try another --data") from error
