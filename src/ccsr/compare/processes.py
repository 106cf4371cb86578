"""Methods run as processes of their own: what they print, how long they take, and how much memory they hold."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccsr.errors import CCSRError

POLL = 0.05
"""Seconds between two looks at a process's memory."""


@dataclass(frozen=True)
class Ended:
    """A process that came to its end by itself."""

    seconds: float
    peak_bytes: int | None
    """Most memory that it and its children held; None where the system does not tell (other than Linux)."""


def run(
    words: Sequence[str],
    log: Path,
    *,
    cwd: Path | None = None,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = lambda line: None,
    accepted: Sequence[int] = (0,),
) -> Ended:
    """Run a program, without a shell; what it prints goes to `log`, its stderr to `LOG.stderr`.

    Each line of stdout goes to `on_line` too.

    Raises:
        CCSRError: it cannot be started, or ends with a code that is not `accepted`: its last line is the reason.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    complaints = log.with_suffix(".stderr")
    with log.open("w", encoding="utf-8", errors="replace") as out, complaints.open("wb") as err:
        out.write(" ".join(words) + "\n")
        try:
            process = subprocess.Popen(  # noqa: S603 # what the user's own configuration names
                list(words),
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise CCSRError(f"cannot be started: {error.strerror}", path=words[0]) from error
        memory = _Memory(process.pid)
        try:
            if process.stdin is not None:
                process.stdin.write(stdin or "")
                process.stdin.close()
            for line in process.stdout or ():
                out.write(line)
                on_line(line.rstrip("\n"))
            code = process.wait()
        except BrokenPipeError:
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            peak = memory.stop()
    if code not in accepted:
        why = _last_line(complaints, 0) or _last_line(log, 1) or "it printed nothing"
        raise CCSRError(f"ended with code {code}: {why}", path=Path(words[0]).name, hint=f"see {complaints}")
    return Ended(time.perf_counter() - begin, peak)


def thread_limits(threads: int | None) -> dict[str, str]:
    """Environment that holds numeric libraries to a number of threads."""
    return {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)} if threads else {}


def _last_line(path: Path, skip: int) -> str:
    """The last line that says something, but for `skip` lines at the beginning."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[skip:]]
    said = [line for line in lines if line]
    return said[-1][:200] if said else ""


class _Memory:
    """The peak of a process and its children, looked up while they run.

    The kernel's own maximum (`ru_maxrss`) counts what the parent held when it started the child, so it says nothing
    about small programs. Each process's high-water mark does not have this flaw.
    """

    def __init__(self, pid: int) -> None:
        self._pid, self._peak = pid, 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int | None:
        self._stopped.set()
        self._thread.join()
        return self._peak or None

    def _watch(self) -> None:
        while not self._stopped.wait(POLL):
            self._peak = max(self._peak, sum(map(_high_water, _family(self._pid))))


def _family(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return [pid]
    return [pid, *(member for child in text.split() for member in _family(int(child)))]


def _high_water(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:  # it just ended, or the system has no /proc
        pass
    return 0
