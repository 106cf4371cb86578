"""A job over a local Ray cluster: the same bytes, the same journal, and a worker killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ccsr.errors import OptionError
from ccsr.jobs.names import JOURNAL_NAME
from ccsr.options import UpscaleOptions
from helpers import program, write_picture

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def start(model: str, *words: str) -> "subprocess.Popen[str]":
    words = ("upscale", "in", *words, "-m", model, "-s", "2", "--threads", "1", "--dtype", "fp32", "--json")
    # Ray gives way to everything else on a machine unless told.
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "RAY_worker_niceness": "0"}
    return subprocess.Popen(program(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def ended(process: "subprocess.Popen[str]") -> tuple[int, list[dict[str, Any]], str]:
    out, err = process.communicate()
    return process.returncode, [line for line in map(json.loads, out.splitlines()) if "summary" not in line], err


def results(folder: str) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(Path(folder).rglob("*.png"))}


def workers_of(process: "subprocess.Popen[str]") -> list[int]:
    """Processes of this cluster in which an actor of ours runs."""
    psutil = pytest.importorskip("psutil")
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "MapWorker" in " ".join(child.cmdline()):
                found.append(child.pid)
        except psutil.Error:
            continue
    return found


def test_a_killed_worker_and_a_second_run(desk: Path, tiny: str) -> None:
    pytest.importorskip("ray")
    for n in range(30):
        write_picture(desk / "in" / f"{n:03d}.png", 48, 48, seed=n)
    (desk / "in" / "020.jpg").write_text("no picture")
    begin = time.monotonic()
    code, alone, _ = ended(start(tiny, "-o", "alone"))
    seconds_alone = time.monotonic() - begin
    assert code == 1
    begin = time.monotonic()
    process = start(tiny, "-o", "out", "--cluster", "local")
    while process.poll() is None and len(results("out")) < 5:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()[1]
    workers = workers_of(process)
    assert workers, "nothing to kill"
    os.kill(workers[0], signal.SIGKILL)
    code, records, err = ended(process)
    seconds = time.monotonic() - begin
    assert code == 1, err
    assert "Traceback" not in err
    assert [r["input"] for r in records] == [r["input"] for r in alone], "one line each, in the order of the inputs"
    assert [r["status"] for r in records] == [r["status"] for r in alone]
    assert results("out") == results("alone")
    print(f"alone {seconds_alone:.0f} s, cluster of {len(workers)} with one killed {seconds:.0f} s", file=sys.stderr)
    # The journal is the one that a plain run keeps: either goes on where the other stopped.
    for n in range(5):
        Path("out", f"{n:03d}.png").unlink()
    code, records, _ = ended(start(tiny, "-o", "out"))
    assert [r["status"] for r in records].count("done") == 5
    # Had the kill hit a file that was being written, this run has swept it.
    assert {p.name for p in Path("out").glob(".*")} == {JOURNAL_NAME}
    for n in range(5, 9):
        Path("out", f"{n:03d}.png").unlink()
    code, records, _ = ended(start(tiny, "-o", "out", "--cluster", "local"))
    assert [r["status"] for r in records].count("done") == 4
    assert results("out") == results("alone")


def test_no_cluster_at_the_address_is_one_line(desk: Path, tiny: str) -> None:
    pytest.importorskip("ray")
    write_picture(desk / "in" / "a.png")
    code, records, err = ended(start(tiny, "-o", "out", "--cluster", "127.0.0.1:9"))
    assert (code, records) == (2, [])
    assert err.startswith("error: no cluster answers at 127.0.0.1:9")
    assert len(err.splitlines()) == 1


def test_one_by_one() -> None:
    with pytest.raises(OptionError, match="--cluster computes pictures one by one"):
        UpscaleOptions.from_mapping({"cluster": "local", "batch_size": 2}, interface="cli")
