"""Two thousand small files in one run of the program: memory flat, one line each, a summary, nothing left open."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ccsr.jobs.names import JOURNAL_NAME
from helpers import program, write_picture

pytestmark = pytest.mark.slow
FILES = 2000


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_stays_flat(desk: Path, tiny: str) -> None:
    for n in range(FILES):
        write_picture(desk / "in" / f"{n % 40:02d}" / f"{n:04d}.png", 8, 8, seed=n)
    (desk / "in" / "bad.png").write_bytes(b"no picture")
    words = ["upscale", "in", "-o", "out", "-m", tiny, "-s", "2", "--threads", "1", "--dtype", "fp32", "--json"]
    process = subprocess.Popen(program(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    assert process.stdout is not None
    assert process.stderr is not None
    listener = threading.Thread(target=lambda: said.extend(process.stderr or ()))
    listener.start()
    memory, files, lines = {}, {}, []
    for line in process.stdout:
        lines.append(json.loads(line))
        if len(lines) % 100 == 0:
            status = Path(f"/proc/{process.pid}/status").read_text()
            memory[len(lines)] = int(status.partition("VmRSS:")[2].split()[0]) / 1024
            files[len(lines)] = len(os.listdir(f"/proc/{process.pid}/fd"))
    assert process.wait() == 1
    listener.join()
    records, summary = lines[:-1], lines[-1]["summary"]
    assert [r["status"] for r in records] == ["done"] * FILES + ["failed"]
    assert (summary["done"], summary["skipped"], summary["failed"]) == (FILES, 0, 1)
    assert said[-1].startswith(f"{FILES} done, 0 skipped, 1 failed in ")
    assert "pictures/s" in said[-1]
    print(f"MB by files: {memory}\n{said[-1]}", file=sys.stderr)
    # The first hundreds fill what the libraries keep for themselves.
    assert max(memory.values()) - memory[500] < 15, memory
    assert max(files.values()) < 10, files
    with sqlite3.connect(Path("out") / JOURNAL_NAME) as connection:
        states = connection.execute("SELECT state, count(*) FROM results GROUP BY state").fetchall()
    assert states == [("done", FILES)]
