"""Faults that really happen, done to real processes: kills, full disks, vanished folders, two runs at once."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ccsr.jobs.names import JOURNAL_NAME
from helpers import program, write_picture

if sys.platform != "linux":
    pytest.skip("the faults of this file are made the Linux way", allow_module_level=True)

pytestmark = pytest.mark.slow  # each starts several processes

IN_THE_MIDDLE = 8192
"""Bytes of a pipe that holds the lines of a few results: a program started with it is still at work until they are
read, however late that is."""


def start(model: str, *words: str, limit: str = "", **how: Any) -> "subprocess.Popen[str]":
    words = ("upscale", *words, "-m", model, "-s", "2", "--threads", "1", "--dtype", "fp32", "--json")
    return subprocess.Popen(
        program(*words, limit=limit), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, records without the summary, and the lines for people."""
    out, err = process.communicate()
    lines = [json.loads(line) for line in out.splitlines()]
    return process.returncode, [line for line in lines if "summary" not in line], err


def run(model: str, *words: str, **how: Any) -> tuple[int, list[dict[str, Any]], str]:
    return ended(start(model, *words, **how))


def results(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*.png"))}


def hidden(folder: Path) -> set[str]:
    """What is no result and not the journal."""
    return {p.name for p in folder.rglob(".*") if p.name != JOURNAL_NAME}


def wait_for(count: int, folder: Path, process: "subprocess.Popen[str]") -> None:
    while process.poll() is None:
        if folder.is_dir() and sum(1 for p in folder.iterdir() if p.suffix == ".png") >= count:
            return
        time.sleep(0.005)
    raise AssertionError(f"{count} results never came; exit code {process.poll()}")


@pytest.fixture
def pictures(desk: Path) -> Callable[[int], Path]:
    def write(count: int, side: int = 16) -> Path:
        for n in range(count):
            write_picture(desk / "in" / f"{n:03d}.png", side, side, seed=n)
        return desk / "in"

    return write


def test_killed_again_and_again_and_resumed_equals_uninterrupted(
    desk: Path, tiny: str, pictures: Callable[[int], Path]
) -> None:
    pictures(200)
    assert run(tiny, "in", "-o", "whole")[0] == 0
    chance, kills = random.Random(8), 0  # noqa: S311 -- when to kill
    for _ in range(6):
        done = len(results(Path("out"))) if Path("out").is_dir() else 0
        if done > 150:
            break
        process = start(tiny, "in", "-o", "out")
        wait_for(done + chance.randint(1, 30), Path("out"), process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        for path in Path("out").glob("*.png"):
            Image.open(path).load()
    assert kills >= 3
    before = {name: Path("out", name).stat().st_mtime_ns for name in results(Path("out"))}
    assert 0 < len(before) < 200
    code, records, _ = run(tiny, "in", "-o", "out")
    assert code == 0
    assert results(Path("out")) == results(Path("whole"))
    redone = [name for name, at in before.items() if Path("out", name).stat().st_mtime_ns != at]
    # The one that each kill hit between the file and its line may be made anew.
    assert len(redone) <= 1
    assert sum(r["status"] == "skipped" for r in records) == len(before) - len(redone)


def test_what_a_killed_process_left_half_written_is_swept_by_the_next(
    desk: Path, tiny: str, pictures: Callable[[int], Path]
) -> None:
    pictures(4)
    # Stopped in the very middle of writing the third result, as a power cut would.
    limit = (
        "import os, signal; plain = os.fsync; calls = []\n"
        "def fsync(number):\n"
        "    calls.append(number)\n"
        "    if len(calls) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    plain(number)\n"
        "os.fsync = fsync"
    )
    assert run(tiny, "in", "-o", "out", limit=limit)[0] == -signal.SIGKILL
    left = hidden(Path("out"))
    assert sorted(name.rpartition(".")[2] for name in left) == ["ccsr-part", "ccsr-run"]
    assert sorted(results(Path("out"))) == ["000.png", "001.png"]
    time.sleep(1.1)
    code, records, _ = run(tiny, "in", "-o", "out")
    assert code == 0
    assert [r["status"] for r in records] == ["skipped", "skipped", "done", "done"]
    assert hidden(Path("out")) == set()


def test_a_kill_in_the_middle_of_a_large_picture_costs_a_row_of_tiles(desk: Path, tiny: str) -> None:
    write_picture(desk / "in" / "a.png", 120, 160)
    as_if_large = "import ccsr.images.buffers as b, ccsr.plan as p; b.RESIDENT = p.RESIDENT = 1000\n"
    # Stopped in the very middle of the decoder's second row of tiles, as a power cut would.
    killed = as_if_large + (
        "import os, signal; from ccsr.networks import codec; plain = codec.decode; calls = []\n"
        "def decode(*given):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 12: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return plain(*given)\n"
        "codec.decode = decode"
    )
    counted = as_if_large + (
        "import atexit; from ccsr.networks import codec; plain = codec.decode; calls = []\n"
        "def decode(*given):\n"
        "    calls.append(1)\n"
        "    return plain(*given)\n"
        "codec.decode = decode\n"
        "atexit.register(lambda: open('calls', 'w').write(str(len(calls))))"
    )
    words = ("in", "--tile", "64", "--vae-tile", "64")
    assert run(tiny, *words, "-o", "whole", limit=counted)[0] == 0
    all_calls = int(Path("calls").read_text())
    assert run(tiny, *words, "-o", "out", limit=killed)[0] == -signal.SIGKILL
    assert [p.suffix for p in Path("out").iterdir() if p.is_dir()] == [".ccsr-kept"]
    code, records, _ = run(tiny, *words, "-o", "out", limit=counted)
    assert (code, [r["status"] for r in records]) == (0, ["done"])
    assert int(Path("calls").read_text()) <= all_calls - 5, "a row of tiles was not computed again"
    assert results(Path("out")) == results(Path("whole"))
    assert hidden(Path("out")) == set()


@pytest.fixture
def small_disk(desk: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    disk = desk / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no small file system can be mounted here: {made.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_leaves_no_partial_file_and_says_so(
    desk: Path, tiny: str, pictures: Callable[..., Path], small_disk: Path
) -> None:
    pictures(12, 64)
    code, records, err = run(tiny, "in", "-o", "disk/out")
    assert code == 1
    failed = [r for r in records if r["status"] == "failed"]
    assert 0 < len(failed) < 12
    reasons = {r["error"].split(": ", 1)[1] for r in failed}
    assert reasons <= {
        "cannot be written: No space left on device",
        "the journal cannot be used: database or disk is full (make room and run again)",
    }
    assert "Traceback" not in err
    for name in results(small_disk):
        Image.open(small_disk / "out" / name).load()
    assert hidden(small_disk) == set()
    assert len(results(small_disk)) == 12 - len(failed)
    # Room is made: the same command does the rest.
    shutil.copytree(small_disk / "out", "out")
    code, records, err = run(tiny, "in", "-o", "out")
    assert code == 0, err
    # The journal may have had no room left for a line about the last one.
    assert sum(r["status"] == "skipped" for r in records) in (12 - len(failed), 11 - len(failed))
    assert run(tiny, "in", "-o", "whole")[0] == 0
    assert results(Path("out")) == results(Path("whole"))


def test_a_limit_on_file_size_is_one_line(desk: Path, tiny: str) -> None:
    write_picture(desk / "in" / "large.png", 150, 150)
    write_picture(desk / "in" / "small.png", 8, 8)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))"
    code, records, _ = run(tiny, "in", "-o", "out", limit=limit)
    assert (code, [r["status"] for r in records]) == (1, ["failed", "done"])
    assert records[0]["error"] == "out/large.png: cannot be written: File too large"
    assert hidden(Path("out")) == set()


def test_the_output_folder_is_removed_in_the_middle(desk: Path, tiny: str, pictures: Callable[..., Path]) -> None:
    pictures(60, 32)
    process = start(tiny, "in", "-o", "out", pipesize=IN_THE_MIDDLE)
    wait_for(5, Path("out"), process)
    for _ in range(100):
        shutil.rmtree("out", ignore_errors=True)
        if not Path("out").exists():
            break
    code, records, err = ended(process)
    assert code in (0, 1)
    assert len(records) == 60, "the job goes on to its end"
    assert "Traceback" not in err
    failed = [r for r in records if r["status"] == "failed"]
    assert len(failed) <= 2, failed
    # What was made before is gone with its folder; the next run knows, and makes exactly that.
    code, records, _ = run(tiny, "in", "-o", "out")
    assert code == 0
    assert any(r["status"] == "done" for r in records)
    assert run(tiny, "in", "-o", "whole")[0] == 0
    assert results(Path("out")) == results(Path("whole"))


def test_an_input_changes_in_the_middle(desk: Path, tiny: str, pictures: Callable[..., Path]) -> None:
    pictures(60, 32)
    process = start(tiny, "in", "-o", "out", pipesize=IN_THE_MIDDLE)
    wait_for(3, Path("out"), process)
    write_picture(Path("in/058.png"), 32, 32, seed=99)
    write_picture(Path("in/059.png"), 20, 32, seed=99)
    code, records, _ = ended(process)
    assert code == 1
    assert [r["status"] for r in records] == ["done"] * 59 + ["failed"]
    assert records[58]["warnings"] == ["the input changed while it was being upscaled"]
    assert records[59]["error"] == "in/059.png: the file changed since this job looked at it (run again)"
    code, records, _ = run(tiny, "in", "-o", "out")
    assert (code, [r["status"] for r in records[58:]]) == (1, ["failed", "done"])
    assert "058.png exists, made from another picture" in records[58]["error"]
    assert run(tiny, "in", "-o", "out", "--overwrite")[0] == 0
    assert run(tiny, "in", "-o", "whole")[0] == 0
    assert results(Path("out")) == results(Path("whole"))


def test_memory_runs_out_as_the_plan_says_or_by_one_line(desk: Path, tiny: str) -> None:
    write_picture(desk / "in" / "1-small.png", 16, 16)
    write_picture(desk / "in" / "2-large.png", 1100, 1100)
    write_picture(desk / "in" / "3-small.png", 16, 16)
    words = ("in", "--tile", "none", "--vae-tile", "none")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, ({0}, {0}))"
    # Less than the plan asks for, 1.9 GB: refused before anything is computed. Not much less: what libraries reserve
    # for each thread counts too, and differs from run to run.
    code, records, err = run(tiny, *words, "-o", "planned", limit=limit.format(1_600_000_000))
    assert (code, [r["status"] for r in records]) == (1, ["done", "failed", "done"]), err
    assert "2-large.png: 2200x2200 needs about" in records[1]["error"]
    assert records[1]["error"].endswith("(use a smaller --tile and --vae-tile, or a smaller size)")
    # As much as the plan asks for, but a share of it is gone already: smaller tiles may help, or not, and a library
    # that does not look whether it was given memory takes the process with it.
    less = limit.format(2_000_000_000) + "; import mmap; taken = mmap.mmap(-1, 700_000_000)"
    code, records, err = run(tiny, *words, "-o", "tried", limit=less)
    if code >= 0:
        assert [r["status"] for r in records[::2]] == ["done", "done"], err
        assert code == (records[1]["status"] == "failed")
        if code:
            assert records[1]["error"].endswith("there is not enough memory (set a smaller --tile and --vae-tile)")
        else:
            assert records[1]["smaller_tiles"] == any("memory ran out" in w for w in records[1]["warnings"])
        assert hidden(Path("tried")) == set()
    # Whichever it was, what was done is whole, and the next run makes what is left.
    code, records, err = run(tiny, *words, "-o", "tried", limit=limit.format(1_600_000_000))
    assert {r["status"] for r in records[::2]} <= {"done", "skipped"}, err
    assert results(Path("planned")).items() <= results(Path("tried")).items()
    assert hidden(Path("tried")) == set()


def test_ctrl_c_twice_and_more(desk: Path, tiny: str, pictures: Callable[..., Path]) -> None:
    pictures(60, 48)
    process = start(tiny, "in", "-o", "out", pipesize=IN_THE_MIDDLE)
    wait_for(4, Path("out"), process)
    for _ in range(4):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    code, _, err = ended(process)
    assert code == 130
    assert "Traceback" not in err
    assert len(results(Path("out"))) < 60
    for path in Path("out").glob("*.png"):
        Image.open(path).load()
    time.sleep(1.1)
    assert run(tiny, "in", "-o", "out")[0] == 0
    assert len(results(Path("out"))) == 60
    assert hidden(Path("out")) == set()


def test_two_processes_on_one_folder_make_each_result_once(
    desk: Path, tiny: str, pictures: Callable[..., Path]
) -> None:
    pictures(60, 32)
    both = [start(tiny, "in", "-o", "out") for _ in range(2)]
    ends = [ended(process) for process in both]
    assert [code for code, _, _ in ends] == [0, 0], [err for _, _, err in ends]
    names = [Path(r["output"]).name for _, records, _ in ends for r in records if r["status"] == "done"]
    assert sorted(names) == [f"{n:03d}.png" for n in range(60)], "each once"
    assert all([Path(r["input"]).name for r in records] == sorted(Path(r["input"]).name for r in records)
               for _, records, _ in ends), "told in the order of the inputs"  # fmt: skip
    assert hidden(Path("out")) == set()
    assert run(tiny, "in", "-o", "whole")[0] == 0
    assert results(Path("out")) == results(Path("whole"))


def test_a_dead_process_does_not_keep_its_result(desk: Path, tiny: str, pictures: Callable[..., Path]) -> None:
    """While one process stands still at a picture the other waits for it; when it dies the other takes it over."""
    pictures(6)
    stand_still = (
        "import time; from ccsr import images; plain = images.load\n"
        "def load(path, *rest):\n"
        "    if path.name == '002.png': open('still', 'w').close(); time.sleep(600)\n"
        "    return plain(path, *rest)\n"
        "images.load = load"
    )
    first = start(tiny, "in", "-o", "out", limit=stand_still)
    while not Path("still").exists() and first.poll() is None:
        time.sleep(0.02)
    second = start(tiny, "in", "-o", "out")
    wait_for(5, Path("out"), second)
    time.sleep(0.5)
    assert second.poll() is None, "it waits for what the first has taken on"
    first.kill()
    first.communicate()
    code, records, _ = ended(second)
    assert code == 0
    assert [r["status"] for r in records] == ["skipped", "skipped", "done", "done", "done", "done"]
    assert hidden(Path("out")) == set()


def test_a_home_that_cannot_be_written(desk: Path, tiny: str, pictures: Callable[..., Path]) -> None:
    pictures(1)
    # Nobody, root included, can make a file there.
    environment = {**os.environ, "HOME": "/proc/1/nowhere", "XDG_CACHE_HOME": "/proc/1/nowhere", "TMPDIR": str(desk)}
    environment.pop("CCSR_HOME", None)
    code, records, err = run(tiny, "in", "-o", "out", env=environment)
    assert (code, [r["status"] for r in records]) == (0, ["done"]), err
