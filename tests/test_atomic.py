"""Files and folders are whole under their names or not there, and nothing else is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ccsr import atomic


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with atomic.file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        assert len(names(tmp_path)) == 2
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "a.txt").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b.txt").write_bytes(b"old")

    def fill(file: bool) -> None:
        if file:
            with atomic.file(tmp_path / "a.txt") as out:
                out.write(b"half")
                raise error
        with atomic.folder(tmp_path / "folder", replace=True) as new:
            (new / "b.txt").write_bytes(b"half")
            raise error

    for file in (True, False):
        with pytest.raises(error):
            fill(file)
    assert names(tmp_path) == ["a.txt", "folder"]
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "folder" / "b.txt").read_bytes() == b"old"


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "above" / "folder"
    with atomic.folder(path) as new:
        (new / "inner").mkdir()
        (new / "inner" / "a.txt").write_bytes(b"new")
        assert not path.exists()
    assert (path / "inner" / "a.txt").read_bytes() == b"new"
    assert names(path.parent) == ["folder"]


def test_a_folder_with_files_gives_way_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with atomic.folder(path) as new:  # an empty one always does
        (new / "a.txt").write_bytes(b"first")

    def second() -> None:
        with atomic.folder(path) as new:
            (new / "a.txt").write_bytes(b"second")

    with pytest.raises(OSError, match="not empty"):
        second()
    assert (path / "a.txt").read_bytes() == b"first"
    with atomic.folder(path, replace=True) as new:
        (new / "b.txt").write_bytes(b"third")
    assert names(path) == ["b.txt"]
    assert names(tmp_path) == ["folder"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rename = tmp_path / "folder", Path.rename
    path.mkdir()
    (path / "a.txt").write_bytes(b"old")
    calls = 0

    def fails_once(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_once)

    def replaced() -> None:
        with atomic.folder(path, replace=True) as new:
            (new / "a.txt").write_bytes(b"new")

    with pytest.raises(OSError, match="No space left"):
        replaced()
    assert (path / "a.txt").read_bytes() == b"old"
    assert names(tmp_path) == ["folder"]


def test_all_reaches_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, bool]] = []
    target, fsync = tmp_path / "folder", os.fsync

    def watched(descriptor: int) -> None:
        synced.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")).name, target.exists()))
        fsync(descriptor)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", watched)
    with atomic.folder(target) as new:
        (new / "inner").mkdir()
        (new / "inner" / "a.txt").write_bytes(b"new")
    assert {("inner", False), ("a.txt", False), (tmp_path.name, True)} <= set(synced)


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on files there")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_is_swept_and_what_is_at_work_is_not(tmp_path: Path, kind: str) -> None:
    program = f"""
import os, sys
from pathlib import Path
from ccsr import atomic
with atomic.{kind}(Path(sys.argv[1])) as part:
    print("at work", flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "a")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "at work\n"
    (part,) = tmp_path.iterdir()
    os.utime(part, (0, 0))
    assert atomic.sweep(tmp_path) == 0
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert names(tmp_path) == [part.name]
    assert atomic.sweep(tmp_path) == 1
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on files there")
def test_a_file_just_begun_is_left(tmp_path: Path) -> None:
    """Between its first byte and its lock nobody can tell whether its writer lives."""
    part = tmp_path / ".0123456789abcdef.ccsr-part"
    part.write_bytes(b"")
    future = part.stat().st_mtime + 3600
    os.utime(part, (future, future))
    assert atomic.sweep(tmp_path) == 0
    os.utime(part, (0, 0))
    assert atomic.sweep(tmp_path) == 1
