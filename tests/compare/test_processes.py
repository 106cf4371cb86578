"""Programs as processes: their memory, their lines, their end."""

import os
import sys
from pathlib import Path

import pytest

from ccsr.compare import processes
from ccsr.errors import CCSRError

MB = 1_000_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
def test_memory_is_that_of_the_program_and_its_children(tmp_path: Path) -> None:
    ballast = b"x" * (200 * MB)  # what this process holds must not count
    code = "import time; held = b'x' * 90_000_000; time.sleep(2)"
    alone = processes.run([sys.executable, "-c", code], tmp_path / "log")
    assert alone.peak_bytes is not None
    assert 90 * MB < alone.peak_bytes < 150 * MB
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    both = processes.run([sys.executable, "-c", child], tmp_path / "log")
    assert both.peak_bytes is not None
    assert alone.peak_bytes < both.peak_bytes < 170 * MB
    assert len(ballast) == 200 * MB


def test_lines_go_to_the_listener_and_to_the_log(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import sys; print('one'); print('two'); print('aside', file=sys.stderr); print(sys.stdin.read())"
    processes.run([sys.executable, "-c", code], tmp_path / "deep" / "log.txt", stdin="three", on_line=lines.append)
    assert lines == ["one", "two", "three"]
    assert (tmp_path / "deep" / "log.txt").read_text().splitlines()[1:] == lines
    assert (tmp_path / "deep" / "log.stderr").read_text() == "aside\n"


def test_the_reason_is_what_was_complained_about(tmp_path: Path) -> None:
    code = "import sys; print('the reason', file=sys.stderr); print('bye'); sys.exit(1)"
    with pytest.raises(CCSRError, match=r"ended with code 1: the reason \(see .*log.stderr\)"):
        processes.run([sys.executable, "-c", code], tmp_path / "log.txt")


def test_a_killed_program_and_one_that_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(CCSRError, match=r"ended with code 3: it printed nothing \(see "):
        processes.run([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log")
    with pytest.raises(CCSRError, match="ended with code -9"):
        processes.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], tmp_path / "log")


def test_nothing_is_left_behind_when_the_listener_stops(tmp_path: Path) -> None:
    pids: list[int] = []

    def stop(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        processes.run([sys.executable, "-c", code], tmp_path / "log", on_line=stop)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
