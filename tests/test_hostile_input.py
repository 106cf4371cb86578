"""The corpus of whole and broken files through the real program: each comes out right, or fails alone by name."""

import gc
import hashlib
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ccsr import CCSRPipeline, OptionError
from ccsr.cli.main import main
from ccsr.images import SUFFIXES
from corpus import NO_PICTURE, Case, matches, write_corpus
from helpers import program, write_picture

SCALE = 2
Ran = tuple[dict[Path, Case], dict[str, Any]]


@pytest.fixture(scope="module")
def ran(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The corpus, and what one run of the program over all of it did."""
    desk = tmp_path_factory.mktemp("corpus")
    written = write_corpus(desk / "in")
    before = _hashes(desk / "in")
    words = ["upscale", "in", "-o", "out", "-m", tiny, "-s", str(SCALE), "--threads", "1", "--dtype", "fp32"]
    done = subprocess.run(program(*words, "--json"), cwd=desk, capture_output=True)
    assert done.stdout, done.stderr.decode()
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
    return written, {
        "desk": desk, "code": done.returncode, "err": done.stderr.decode(errors="surrogateescape"),
        "records": {desk / r["input"]: r for r in lines[:-1]}, "order": [r["input"] for r in lines[:-1]],
        "summary": lines[-1]["summary"], "before": before, "after": _hashes(desk / "in"), "words": words,
    }  # fmt: skip


def _hashes(folder: Path) -> dict[Path, str]:
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_the_corpus_is_large_and_wide(ran: Ran) -> None:
    kinds = [case.kind for case in ran[0].values()]
    assert len(kinds) >= 400
    assert len(set(kinds)) >= 13
    assert min(kinds.count(kind) for kind in set(kinds)) >= 10


@pytest.mark.slow
def test_every_file_comes_out_as_declared(ran: Ran) -> None:
    written, run = ran
    assert run["code"] == 1
    passed_over = {path: case for path, case in written.items() if path not in run["records"]}
    assert set(run["records"]) <= set(written)
    assert len(passed_over) == run["summary"]["passed_over"] >= 5
    for path, case in passed_over.items():
        assert path.suffix.lower() not in SUFFIXES
        assert NO_PICTURE in str(case.reason) or "the file is empty" in str(case.reason), case
    wrong = [f"{case.kind}/{case.name!r}: {fault}" for path, case in written.items()
             if path in run["records"] and (fault := _fault(case, run["records"][path], run["desk"]))]  # fmt: skip
    assert not wrong, "\n" + "\n".join(wrong)


def _fault(case: Case, record: dict[str, Any], desk: Path) -> str | None:
    """How a result differs from what was declared, or None."""
    if record["status"] in ("failed", "unread"):
        if record["status"] == "unread" and (desk / record["input"]).suffix.lower() in SUFFIXES:
            return "is named as a picture, and no failure"
        if case.reason is None:
            return f"failed: {record['error']}"
        if "\n" in record["error"] or not record["error"].startswith(record["input"].replace("\n", "\\n")):
            return f"no line that names the file: {record['error']!r}"
        return None if matches(case.reason, record["error"]) else f"wrong reason: {record['error']}"
    if case.size is None:
        return f"came out, expected {case.reason}"
    with Image.open(desk / record["output"]) as result:
        result.load()
    expected = tuple(SCALE * side for side in case.size)
    if result.size != expected or (record["width"], record["height"]) != expected:
        return f"{result.size} and not {expected}"
    if case.warning and not any(matches(case.warning, warning) for warning in record["warnings"]):
        return f"warnings {record['warnings']}"
    # Pillow turns grey of 16 bits with alpha into RGBA of 8 as it reads.
    stored = pyvips.Image.new_from_buffer((desk / record["output"]).read_bytes(), "")
    is_one = {
        "gray": stored.bands - stored.hasalpha() == 1,
        "alpha": stored.hasalpha(),
        "fine": stored.format != "uchar",
    }
    wrong = [name for name, value in is_one.items() if getattr(case, name) not in (None, bool(value))]
    return f"{', '.join(wrong)}: {stored.bands} bands of {stored.format}" if wrong else None


@pytest.mark.slow
def test_nothing_but_results_is_written_and_no_input_is_touched(ran: Ran) -> None:
    _, run = ran
    assert run["before"] == run["after"]
    results = {run["desk"] / r["output"] for r in run["records"].values() if r["status"] == "done"}
    found = {p for p in (run["desk"] / "out").rglob("*") if p.is_file()}
    assert found - results == {run["desk"] / "out" / ".ccsr-journal.sqlite"}
    assert found > results


@pytest.mark.slow
def test_one_line_for_each_failure_and_no_traceback(ran: Ran) -> None:
    _, run = ran
    failed = [r for r in run["records"].values() if r["status"] == "failed"]
    lines = run["err"].splitlines()
    assert "Traceback" not in run["err"]
    assert sum(line.startswith("error: ") for line in lines) == len(failed) == run["summary"]["failed"]
    assert not [line for line in lines[:-1] if not line.startswith(("error: ", "done: ", "warning: ", "note: "))]
    assert run["summary"]["done"] == len(run["records"]) - len(failed) - run["summary"]["unread"]


@pytest.mark.slow
def test_the_next_run_skips_all_that_is_done_and_fails_the_same(
    ran: Ran, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, run = ran
    monkeypatch.chdir(run["desk"])
    assert main([*run["words"], "--json", "-q"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["input"] for r in lines[:-1]] == run["order"]
    for record in lines[:-1]:
        before = run["records"][run["desk"] / record["input"]]
        assert record["status"] == {"done": "skipped"}.get(before["status"], before["status"])
        assert record["error"] == before["error"]


# -- what no byte string can be ---------------------------------------------------------------------------------------


def _statuses(desk: Path, capsys: pytest.CaptureFixture[str], tiny: str, *words: str) -> dict[str, tuple[str, Any]]:
    main(
        [
            "upscale",
            "in",
            "-o",
            "out",
            "-m",
            tiny,
            "-s",
            "1",
            "--threads",
            "1",
            "--dtype",
            "fp32",
            "--json",
            "-q",
            *words,
        ]
    )
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert lines, captured.err
    return {r["input"]: (r["status"], r["error"]) for r in lines[:-1]}


def test_links_pipes_and_folders(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_picture(desk / "in" / "good.png")
    (desk / "in" / "link.png").symlink_to(good)
    (desk / "in" / "dangling.png").symlink_to(desk / "nowhere.png")
    (desk / "in" / "circle.png").symlink_to(desk / "in" / "circle.png")
    (desk / "in" / "folder.png").mkdir()
    write_picture(desk / "in" / "folder.png" / "inside.png")
    (desk / "in" / "around").symlink_to(desk / "in")
    os.link(good, desk / "in" / "hard.png")
    os.mkfifo(desk / "in" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("in/socket.png")
        (desk / "in" / "device.png").symlink_to("/dev/zero")
        got = _statuses(desk, capsys, tiny)
    no_file = "is a link to a file that does not exist"
    no_regular = "is not a regular file"
    assert {name.removeprefix("in/"): error and error.split(": ", 1)[1] for name, (_, error) in got.items()} == {
        "circle.png": no_file, "dangling.png": no_file, "device.png": no_regular, "folder.png/inside.png": None,
        "good.png": None, "hard.png": None, "link.png": None, "pipe.png": no_regular, "socket.png": no_regular,
    }  # fmt: skip


@contextmanager
def _as_somebody() -> Iterator[None]:
    """Without root's rights, which would read anything."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def open_desk(tiny: str) -> Iterator[Path]:
    """A folder that anybody may write to, outside of the tests' own, which are private."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    shutil.copytree(tiny, folder / "tiny")
    (folder / "in").mkdir()
    (folder / "in").chmod(0o777)
    before = Path.cwd()
    os.chdir(folder)
    # Loads what the program loads: somebody else may not be allowed to read this Python's own files.
    write_picture(folder / "warm" / "a.png")
    assert main(["upscale", "warm", "-m", "tiny", "--threads", "1", "--dtype", "fp32", "-q"]) == 0
    yield folder
    os.chdir(before)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o777)
    shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights are another matter here")
def test_files_and_folders_that_may_not_be_read_fail_alone(open_desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(10):
        write_picture(open_desk / "in" / f"locked{n}.png").chmod(0 if n % 2 else 0o200)
    write_picture(open_desk / "in" / "good.png").chmod(0o644)
    write_picture(open_desk / "in" / "closed" / "inside.png")
    (open_desk / "in" / "closed").chmod(0)
    with _as_somebody():
        got = _statuses(open_desk, capsys, "tiny")
    assert got.pop("in/good.png") == ("done", None)
    assert got.pop("in/closed") == ("failed", "in/closed: the folder cannot be listed (check its permissions)")
    assert got == {
        f"in/locked{n}.png": ("failed", f"in/locked{n}.png: cannot be read: Permission denied") for n in range(10)
    }


def test_an_output_folder_that_may_not_be_written_fails_by_name(
    open_desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(open_desk / "in" / "a.png").chmod(0o644)
    (open_desk / "out").mkdir()
    (open_desk / "out").chmod(0o555)
    with _as_somebody():
        got = _statuses(open_desk, capsys, "tiny")
    status, error = got["in/a.png"]
    assert status == "failed"
    assert error.startswith("out/.ccsr-journal.sqlite: the journal cannot be used: ")


# -- laws -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pipe(tiny: str) -> CCSRPipeline:
    pipeline = CCSRPipeline.from_pretrained(tiny)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


PICTURES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31 - 1))
OPTIONS = st.fixed_dictionaries(
    {"dtype": st.sampled_from(["fp32", "bf16"])},
    optional={
        "scale": st.fractions(1, 8, max_denominator=12),
        "steps": st.integers(1, 4),
        "seed": st.integers(0, 2**63 - 1),
        "blend": st.floats(0, 1),
        "color_fix": st.sampled_from(["adain", "wavelet", "none"]),
        "tile": st.one_of(st.sampled_from(["auto", "none"]), st.integers(64, 200)),
        "vae_tile": st.one_of(st.sampled_from(["auto", "none"]), st.integers(64, 200)),
        "overlap": st.floats(0, 0.9),
        "min_size": st.integers(8, 96),
        "batch_size": st.integers(1, 3),
        "num_samples": st.integers(1, 2),
        "start_point": st.sampled_from(["lq", "noise"]),
    },
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=PICTURES, options=OPTIONS)
def test_any_size_and_any_options_give_a_finite_picture_of_the_exact_size(
    pipe: CCSRPipeline, shape: tuple[int, int, int], options: dict[str, Any]
) -> None:
    height, width, seed = shape
    picture = np.random.RandomState(seed).rand(height, width, 3).astype(np.float32)
    kept = picture.copy()
    images = pipe(picture, output_type="np", **options).images
    scale = options.get("scale", 4)
    assert len(images) == options.get("num_samples", 1)
    for image in images:
        assert image.shape == (round(height * scale), round(width * scale), 3)
        assert np.isfinite(image).all()
        assert 0 <= image.min() <= image.max() <= 1
    np.testing.assert_array_equal(picture, kept)


NUMBERS = st.one_of(st.integers(-10, 2000), st.floats(), st.fractions(), st.text(max_size=8), st.none(), st.booleans())
NAMES = ["scale", "width", "height", "megapixels", "blend", "steps", "T", "t_max", "t_min", "sampling", "seed", "tile",
         "overlap", "dtype", "guidance", "compat", "min_size", "start_index"]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(values=st.dictionaries(st.sampled_from(NAMES), NUMBERS, max_size=4))
def test_whatever_is_given_as_options_is_taken_or_refused_in_one_line(values: dict[str, Any]) -> None:
    from ccsr.options import UpscaleOptions

    try:
        options = UpscaleOptions.from_mapping(values)
        timesteps = options.trajectory.timesteps
    except OptionError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 -- either outcome is fine
    else:
        assert all(0 <= t <= 999 for t in timesteps)
        assert options.digest() == UpscaleOptions.from_mapping(values).digest()


@pytest.mark.slow
def test_memory_and_open_files_do_not_grow(ran: Ran) -> None:
    """Every file of the corpus is opened again and again in this process."""
    from ccsr import images
    from ccsr.errors import ImageError

    def look() -> None:
        for path, case in ran[0].items():
            if case.kind == "shapes":
                continue
            try:
                images.load(path, max_pixels=10**6)
            except ImageError as error:
                assert len(str(error).splitlines()) == 1  # noqa: PT017 -- either outcome is fine

    def open_files() -> int:
        gc.collect()  # an error's traceback holds what it has seen, the file included, until it is collected
        return len(os.listdir("/proc/self/fd"))

    look()
    files, before = open_files(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        look()
    assert open_files() <= files
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 40, f"{grown:.0f} MB"


if sys.platform != "linux":
    pytest.skip("the tests of this file lean on Linux", allow_module_level=True)
