"""Jobs: which files, which names, what is skipped, what fails. The pipeline here enlarges with Pillow."""

import hashlib
import os
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ccsr import images
from ccsr.errors import CCSRError, ModelOutputError, OptionError
from ccsr.jobs.journal import Fingerprint, Journal, UserJournal
from ccsr.jobs.names import JOURNAL_NAME, Naming, Source, check_names, expand, intermediate, size_tag
from ccsr.jobs.runner import Advanced, Finished, Job, Record, Started, Stop, prepare, run
from ccsr.jobs.worker_thread import WorkerThread
from ccsr.metrics import consistency_of
from ccsr.options import UpscaleOptions
from ccsr.weights import ModelDescription, describe
from helpers import pack_tiny_model, write_picture


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelDescription:
    return describe(str(pack_tiny_model(tmp_path_factory.mktemp("models") / "tiny")))


class PillowPipeline:
    """A real enlarger without networks; `before` may fail on purpose."""

    def __init__(self, before: Callable[[int], None] = lambda call: None) -> None:
        self.before, self.calls, self.loads = before, 0, 0

    def load(self) -> "PillowPipeline":
        self.loads += 1
        return self

    def upscale(self, picture, options, plan, sample=0, on_progress=None):  # type: ignore[no-untyped-def]
        self.calls += 1
        self.before(self.calls)
        size = (plan.output_width, plan.output_height)
        eight_bit = Image.fromarray((picture * 255).round().astype(np.uint8))
        sr = np.asarray(eight_bit.resize(size, Image.Resampling.NEAREST), np.float32) / 255
        if on_progress:
            on_progress(1, 1, "denoise")
        return SimpleNamespace(
            sr=np.roll(sr, sample, axis=1), timesteps=(999,), seconds={"encode": 0.0, "denoise": 0.0, "decode": 0.0},
            warnings=[], intermediates=[sr] if options.intermediates else [], plan=plan,
            consistency=consistency_of(sr, picture),
        )  # fmt: skip

    def upscale_batch(self, batch, options, plan, on_progress=None):  # type: ignore[no-untyped-def]
        return [self.upscale(picture, options, plan, sample, on_progress) for picture, sample in batch]


class Desk:
    """One job at a time, with what it told."""

    def __init__(self, model: ModelDescription) -> None:
        self.model, self.events, self.pipeline = model, [], PillowPipeline()

    def run(self, *inputs: Path, output: Path | str | None = None, overwrite: bool = False, **options: object):  # type: ignore[no-untyped-def]
        self.events = []
        job = Job(inputs, self.model, str(output) if output else None, overwrite)
        return run(job, self.pipeline.load, self.options(**options), self.events.append)

    @staticmethod
    def options(**options: object) -> UpscaleOptions:
        return UpscaleOptions.from_mapping({"device": "cpu", "dtype": "fp32", "threads": 1, **options}, "cli")

    @property
    def records(self) -> list[Record]:
        return [e.record for e in self.events if isinstance(e, Finished)]


@pytest.fixture
def desk(tiny: ModelDescription) -> Desk:
    return Desk(tiny)


def counts(summary: object) -> tuple[int, int, int]:
    return summary.done, summary.skipped, summary.failed  # type: ignore[attr-defined]


def tree(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# -- which files ------------------------------------------------------------------------------------------------------


def test_folders_are_expanded_in_order_without_hidden_files_and_results(tmp_path: Path) -> None:
    wanted = ["a.png", "b/inner.jpg", "b/z.txt", "c.PNG", "empty", "ä.tif"]
    others = [".hidden.png", ".git/x.png", "out/a.png", f"done_x4/{JOURNAL_NAME}", "done_x4/a.png"]
    for name in wanted + others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = expand([tmp_path], tmp_path / "out")
    assert [s.path.relative_to(tmp_path).as_posix() for s in found] == wanted
    assert {s.root for s in found} == {tmp_path}


def test_arguments_keep_their_order_and_a_file_named_twice_counts_once(tmp_path: Path) -> None:
    b, a = write_picture(tmp_path / "b.png"), write_picture(tmp_path / "a.png")
    missing = tmp_path / "missing.png"
    assert [s.path for s in expand([b, missing, tmp_path, a])] == [b, missing, a]


def test_a_folder_without_pictures_says_what_it_holds(tmp_path: Path, desk: Desk) -> None:
    with pytest.raises(OptionError) as told:
        desk.run(tmp_path)
    assert str(told.value) == f"there is no picture in {tmp_path} (name a file or another folder)"
    for name in ("a.xmp", "b.XMP", "c.mov", "README", "d.pdf"):
        (tmp_path / name).write_bytes(b"whatever")
    with pytest.raises(OptionError) as told:
        desk.run(tmp_path)
    assert str(told.value) == (
        f"there is no picture in {tmp_path}, only 5 other files (2 .xmp, 1 without suffix, 1 .mov, 1 .pdf)"
        " (name a file or another folder)"
    )
    (tmp_path / "raw.nef").write_bytes(b"II*\0 and so on")
    with pytest.raises(OptionError, match=rf"there is no picture in {tmp_path} that can be read: "):
        desk.run(tmp_path)


def test_what_is_no_picture_is_passed_over_in_a_folder_and_an_error_by_name(tmp_path: Path, desk: Desk) -> None:
    folder = tmp_path / "in"
    write_picture(folder / "a.png")
    write_picture(tmp_path / "plain.png").rename(folder / "picture without a suffix")
    for name in ("a.xmp", "a.json", "film.mov", "notes.txt", "empty.txt", "paper.pdf"):
        (folder / name).write_bytes(b"" if name == "empty.txt" else b"no picture")
    (folder / "a.cr2").write_bytes(b"II*\0\x10\0\0\0CR\x02\0")
    (folder / "bad.jpg").write_bytes(b"no picture")
    summary = desk.run(folder)
    assert (counts(summary), summary.unread) == ((2, 0, 1), 1)
    assert {Path(r.input).name: r.status for r in desk.records} == {
        "a.cr2": "unread", "a.png": "done", "bad.jpg": "failed", "picture without a suffix": "done",
    }  # fmt: skip
    told = prepare(Job([folder], desk.model), desk.options())
    assert [p.name for p in told.passed_over] == [
        "a.json", "a.xmp", "empty.txt", "film.mov", "notes.txt", "paper.pdf",
    ]  # fmt: skip
    assert counts(desk.run(folder / "notes.txt", folder / "a.cr2", output=tmp_path / "out")) == (0, 0, 2)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert prepare(Job([folder, empty], desk.model), desk.options()).without_pictures == [empty]


def test_linked_folders_are_looked_into_once(tmp_path: Path, desk: Desk) -> None:
    card, folder = tmp_path / "card", tmp_path / "in"
    write_picture(card / "DCIM" / "1.png")
    write_picture(card / "0.png")
    (card / "DCIM" / "round").symlink_to(card)
    write_picture(folder / "own" / "2.png")
    (folder / "card").symlink_to(card)
    (folder / "card again").symlink_to(card / "DCIM")
    (folder / "also own").symlink_to(folder / "own")
    (folder / "up").symlink_to(tmp_path)
    (folder / "nowhere").symlink_to(tmp_path / "nowhere")
    found = expand([folder])
    expected = ["card/0.png", "card again/1.png", "nowhere", "own/2.png"]
    assert [s.path.relative_to(folder).as_posix() for s in found] == expected
    assert counts(desk.run(folder)) == (3, 0, 0)
    assert tree(tmp_path / "in_x4") == [JOURNAL_NAME, "card again/1.png", "card/0.png", "own/2.png"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="rights do not bind this user")
def test_a_folder_that_cannot_be_listed_fails_by_name(tmp_path: Path, desk: Desk) -> None:
    write_picture(tmp_path / "in" / "a.png")
    closed = tmp_path / "in" / "closed"
    closed.mkdir(mode=0)
    try:
        assert counts(desk.run(tmp_path / "in")) == (1, 0, 1)
    finally:
        closed.chmod(0o700)
    assert desk.records[1].error == f"{closed}: the folder cannot be listed (check its permissions)"


# -- which names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "tag"),
    [
        ({}, "_x4"),
        ({"scale": "2.5"}, "_x2.5"),
        ({"scale": "8/3"}, "_x2.66667"),
        ({"width": "1024"}, "_W1024"),
        ({"height": "80"}, "_H80"),
        ({"megapixels": "1.5"}, "_MP1.5"),
        ({"megapixels": "12"}, "_MP12"),
    ],
)
def test_names_tell_the_size(typed: dict[str, str], tag: str) -> None:
    assert size_tag(UpscaleOptions.from_mapping(typed)) == tag


@pytest.mark.parametrize(
    ("named", "output", "samples", "result"),
    [
        ("in/a.jpg", None, 1, "in/a_x4.jpg"),
        ("in/a.jpg", None, 2, "in/a_x4_s01.jpg"),
        ("in/a.b.jpg", None, 1, "in/a.b_x4.jpg"),
        ("in/a.jpg", "big.png", 1, "big.png"),
        ("in/a.jpg", "big.PNG", 2, "big_s01.PNG"),
        ("in/a.jpg", "big.png/", 1, "big.png/a.jpg"),
        ("in/a.jpg", "results", 1, "results/a.jpg"),
        ("in/a.jpg", "in", 1, "in/a.jpg"),
        ("in", None, 1, "in_x4/sub/a.jpg"),
        ("in", None, 2, "in_x4/sample01/sub/a.jpg"),
        ("in", "results", 1, "results/sub/a.jpg"),
        ("in", "results.png", 1, "results.png/sub/a.jpg"),
        (".", None, 1, "../here_x4/in/sub/a.jpg"),
    ],
)
def test_results_are_named(
    named: str, output: str | None, samples: int, result: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    argument = Path(named)
    inner = {"in": Path("in/sub/a.jpg"), ".": Path("in/sub/a.jpg")}.get(named)
    source = Source(inner, argument) if inner else Source(argument)
    naming = Naming.of([argument], output, UpscaleOptions.from_mapping({"samples": samples}))
    assert Path(os.path.abspath(naming.result(source, samples - 1, ".jpg"))) == Path(os.path.abspath(result))


def test_intermediates_lie_beside_their_result() -> None:
    assert intermediate(Path("out/a_x4.jpg"), 499) == Path("out/a_x4_t499.png")


def test_output_that_cannot_be_is_refused(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    for output, reason in [
        ("x.gif", r"x.gif: results are not written as .gif \(use .png, .tiff, .webp or .jpg\)"),
        ("x.jpg", "x.jpg: the name says .jpg and --format says png"),
    ]:
        with pytest.raises(OptionError, match=reason):
            Naming.of([picture], output, UpscaleOptions(format="png"))
    file = write_picture(tmp_path / "file.png")
    with pytest.raises(OptionError, match="is a file where a folder of results is needed"):
        Naming.of([picture, tmp_path], str(file), UpscaleOptions())


def test_two_results_of_one_name_and_results_over_inputs_are_refused(tmp_path: Path) -> None:
    a, b, out = Path("x/a.bmp"), Path("y/a.png"), tmp_path / "out.png"
    with pytest.raises(OptionError, match=r"out.png: x/a.bmp and y/a.png would both be written here"):
        check_names([(out, a), (out, b)], [a, b])
    with pytest.raises(OptionError, match=r"y/../y/a.png: x/a.bmp would be written over the input y/a.png"):
        check_names([(Path("y/../y/a.png"), a)], [a, b])
    check_names([(out, a), (out.with_name("other.png"), b)], [a, b])


# -- journal ----------------------------------------------------------------------------------------------------------

ENTRY = Fingerprint(Path("a.png"), 10, 1234567890123456789, "options", "model")


def test_a_result_that_was_never_finished_is_known_where_its_folder_was_moved(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    picture = Fingerprint(tmp_path / "in" / "a.png", 10, 1234, "options", "model")
    other = Fingerprint(tmp_path / "in" / "b.png", 10, 1234, "options", "model")
    with Journal(tmp_path / "here") as journal:
        assert journal.claim(tmp_path / "here" / "a.png", picture) == "claimed"
    (tmp_path / "here" / "a.png").touch()
    (tmp_path / "further").mkdir()
    there = (tmp_path / "here").rename(tmp_path / "further" / "there")
    with Journal(there) as journal:
        assert journal.claim(there / "a.png", other) == "refused"
        assert journal.claim(there / "a.png", picture) == "resumed"


def test_journal_trusts_only_the_same_input_options_and_weights(tmp_path: Path) -> None:
    output = tmp_path / "sub" / "a.png"
    with Journal(tmp_path) as journal:
        assert journal.state_of(output, ENTRY) is None
        assert journal.claim(output, ENTRY) == "claimed"
        assert journal.state_of(output, ENTRY) == "started"
        journal.finish(output, 1.5)
    with Journal(tmp_path) as journal:
        assert journal.state_of(output, ENTRY) == "done"
        for other in (
            replace(ENTRY, input=Path("b.png")),
            Fingerprint(ENTRY.input, 11, ENTRY.mtime_ns, "options", "model"),
            Fingerprint(ENTRY.input, 10, ENTRY.mtime_ns + 1, "options", "model"),
            Fingerprint(ENTRY.input, 10, ENTRY.mtime_ns, "other options", "model"),
            Fingerprint(ENTRY.input, 10, ENTRY.mtime_ns, "options", "other model"),
        ):
            assert journal.state_of(output, other) is None
        assert journal.claim(output, ENTRY) == "claimed"
        journal.finish(output, 0.1, "no space left\udcff")
        assert journal.state_of(output, ENTRY) == "failed"
    row = (
        sqlite3.connect(tmp_path / JOURNAL_NAME).execute("SELECT output, size, seconds, error FROM results").fetchone()
    )
    assert row == ("sub/a.png", 10, 0.1, "no space left\\udcff")


def test_journal_numbers_its_form_and_refuses_newer_and_foreign_files(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    connection = sqlite3.connect(tmp_path / JOURNAL_NAME)
    assert connection.execute("PRAGMA user_version").fetchone() == (4,)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(CCSRError, match=r"is from a newer version \(update ccsr"):
        Journal(tmp_path)
    (tmp_path / JOURNAL_NAME).write_bytes(b"no database at all, but long enough to look like one" * 40)
    with pytest.raises(CCSRError, match=r"the journal cannot be used: .* \(remove it to start anew"):
        Journal(tmp_path)


def test_a_journal_of_an_earlier_form_is_understood(tmp_path: Path, desk: Desk) -> None:
    """Its inputs are absolute paths, and of their content it knows nothing."""
    picture = write_picture(tmp_path / "in" / "a.png")
    desk.run(tmp_path / "in")
    path = tmp_path / "in_x4" / JOURNAL_NAME
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE results SET input = ?", (str(picture),))
        connection.execute("ALTER TABLE results DROP COLUMN input_sha256")
        connection.execute("PRAGMA user_version = 3")
    assert counts(desk.run(tmp_path / "in")) == (0, 1, 0)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (4,)
        assert connection.execute("SELECT input FROM results").fetchone() == ("../in/a.png",)
    assert counts(desk.run(tmp_path / "in")) == (0, 1, 0)
    os.utime(picture, ns=(1, 1))
    assert counts(desk.run(tmp_path / "in")) == (0, 0, 1)
    assert "made from another picture" in (desk.records[0].error or "")


# -- the loop ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_done_with_its_tree_and_broken_files_fail_by_name(tmp_path: Path, desk: Desk) -> None:
    folder = tmp_path / "in"
    write_picture(folder / "a.png", 12, 8)
    write_picture(folder / "b" / "ü ber.jpg", 5, 7)
    (folder / "notes.txt").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    whole = write_picture(folder / "cut.jpg", 64, 64, quality=95).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    assert counts(desk.run(folder)) == (2, 0, 2)
    assert tree(tmp_path / "in_x4") == [JOURNAL_NAME, "a.png", "b/ü ber.jpg"]
    assert Image.open(tmp_path / "in_x4" / "a.png").size == (48, 32)
    assert Image.open(tmp_path / "in_x4" / "b" / "ü ber.jpg").size == (20, 28)
    failed = [r for r in desk.records if r.status == "failed"]
    assert [Path(r.input).name for r in failed] == ["cut.jpg", "empty.png"]
    assert all(r.error and r.error.startswith(f"{r.input}: ") and "\n" not in r.error for r in failed)
    assert desk.pipeline.loads == 1


def test_a_record_holds_what_the_bytes_depend_on(tmp_path: Path, desk: Desk) -> None:
    desk.run(write_picture(tmp_path / "a.png", 12, 8), scale="2.5", seed=7)
    record = desk.records[0].as_json()
    assert list(record) == [
        "input", "output", "status", "error", "width", "height", "input_width", "input_height", "scale", "model",
        "model_sha256", "steps", "timesteps", "seed", "tile", "vae_tile", "smaller_tiles", "dtype", "device",
        "engine", "threads", "seconds", "consistency", "warnings", "stability_map", "input_sha256", "version",
    ]  # fmt: skip
    assert list(record["seconds"]) == ["load", "encode", "denoise", "decode", "color", "save"]
    expected = {"width": 30, "height": 20, "input_width": 12, "input_height": 8, "scale": 2.5, "model": "tiny",
                "steps": 1, "timesteps": (999,), "seed": 7, "tile": None, "dtype": "fp32", "device": "cpu",
                "engine": "torch", "threads": 1, "warnings": (), "error": None, "status": "done"}  # fmt: skip
    assert {k: record[k] for k in expected} == expected
    assert record["output"] == str(tmp_path / "a_x2.5.png")
    assert record["model_sha256"] == desk.model.sha256
    assert record["input_sha256"] == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()


def test_events_come_in_the_order_of_the_work(tmp_path: Path, desk: Desk) -> None:
    desk.run(write_picture(tmp_path / "a.png"), tmp_path / "missing.png")
    assert [type(e) for e in desk.events] == [Started, Advanced, Finished, Finished]
    assert (desk.events[0].number, desk.events[0].total) == (1, 2)
    assert desk.records[1].error == f"{tmp_path / 'missing.png'}: there is no such file"


def test_the_same_command_skips_and_any_difference_asks_for_overwrite(tmp_path: Path, desk: Desk) -> None:
    folder, result = tmp_path / "in", tmp_path / "in_x4" / "a.png"
    picture = write_picture(folder / "a.png")
    assert counts(desk.run(folder)) == (1, 0, 0)
    before = result.stat().st_mtime_ns
    desk.pipeline = PillowPipeline()
    assert counts(desk.run(folder)) == (0, 1, 0)
    assert (desk.pipeline.loads, result.stat().st_mtime_ns) == (0, before)
    assert counts(desk.run(folder, seed=1)) == (0, 0, 1)
    assert desk.records[0].error == (f"{picture}: {result} exists, made with other options (--overwrite replaces it)")
    assert counts(desk.run(folder)) == (0, 1, 0), "a refusal must not forget what was done"
    assert counts(desk.run(folder, seed=1, overwrite=True)) == (1, 0, 0)
    assert counts(desk.run(folder, seed=1)) == (0, 1, 0)
    os.utime(picture, ns=(1, 1))
    assert counts(desk.run(folder, seed=1)) == (0, 1, 0), "of another date, but the same picture"
    write_picture(picture, seed=5)
    assert counts(desk.run(folder)) == (0, 0, 1)
    assert desk.records[0].error == (
        f"{picture}: {result} exists, made from another picture and with other options (--overwrite replaces it)"
    )
    assert counts(desk.run(folder, seed=1, overwrite=True)) == (1, 0, 0)
    result.unlink()
    assert counts(desk.run(folder, seed=1)) == (1, 0, 0), "without its result a line in the journal is worth nothing"


def test_options_that_change_no_bytes_do_not_stop_a_resume(tmp_path: Path, desk: Desk, tiny: ModelDescription) -> None:
    folder = tmp_path / "in"
    write_picture(folder / "a.png")
    desk.run(folder)
    copied = describe(str(pack_tiny_model(tmp_path / "copy")))
    assert copied.sha256 == tiny.sha256
    desk.model = copied
    assert counts(desk.run(folder, model=str(tmp_path / "copy"))) == (0, 1, 0)


def test_a_single_file_is_remembered_elsewhere_and_not_replaced(tmp_path: Path, desk: Desk) -> None:
    picture, other = write_picture(tmp_path / "a.png"), write_picture(tmp_path / "b.png", seed=1)
    assert counts(desk.run(picture)) == (1, 0, 0)
    assert tree(tmp_path) == ["a.png", "a_x4.png", "b.png"]
    assert os.name == "nt" or UserJournal.place().stat().st_mode & 0o077 == 0, "nobody else's business"
    assert counts(desk.run(picture)) == (0, 1, 0)
    assert counts(desk.run(picture, output=tmp_path / "a_x4.png")) == (0, 1, 0)
    existing = f"{picture}: {tmp_path / 'a_x4.png'} exists"
    for output, options, reason in [
        (None, {"seed": 1}, f"{existing}, made with other options"),
        (other, {}, f"{existing}, made from another picture".replace(str(picture), str(other), 1)),
    ]:
        inputs = {"output": tmp_path / "a_x4.png"} if output else {}
        assert counts(desk.run(output or picture, **inputs, **options)) == (0, 0, 1)
        assert desk.records[0].error == f"{reason} (--overwrite replaces it)"
    assert counts(desk.run(picture, overwrite=True)) == (1, 0, 0)
    (tmp_path / "b_x4.png").write_bytes(b"the user's own")
    assert counts(desk.run(other)) == (0, 0, 1)
    assert desk.records[0].error == (
        f"{other}: {tmp_path / 'b_x4.png'} exists, and ccsr has no record of making it (--overwrite replaces it)"
    )


def test_the_same_star_again_does_not_enlarge_its_results(tmp_path: Path, desk: Desk) -> None:
    """`ccsr upscale *.png`, whose second time names the results of the first."""
    for n in range(2):
        write_picture(tmp_path / f"{n}.png", seed=n)
    assert counts(desk.run(*sorted(tmp_path.glob("*.png")))) == (2, 0, 0)
    write_picture(tmp_path / "2.png", seed=2)
    job = Job(sorted(tmp_path.glob("*.png")), desk.model)
    assert prepare(job, desk.options()).own_results == [tmp_path / "0_x4.png", tmp_path / "1_x4.png"]
    assert counts(desk.run(*sorted(tmp_path.glob("*.png")))) == (1, 2, 0)
    assert counts(desk.run(tmp_path / "0_x4.png")) == (1, 0, 0), "by itself it is a picture like any other"
    write_picture(tmp_path / "3.png", seed=2)
    write_picture(tmp_path / "3_x4.png", seed=3)
    with pytest.raises(OptionError, match=r"3.png would be written over the input .*3_x4.png"):
        desk.run(tmp_path / "3.png", tmp_path / "3_x4.png")


def test_where_nothing_can_be_remembered_the_result_is_made(
    tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"no folder")
    monkeypatch.setenv("CCSR_HOME", str(tmp_path / "file" / "home"))
    picture = write_picture(tmp_path / "a.png")
    assert counts(desk.run(picture)) == (1, 0, 0)
    assert desk.records[0].warnings == ()
    assert counts(desk.run(picture)) == (0, 0, 1)
    assert "has no record of making it" in (desk.records[0].error or "")


def test_of_two_results_of_one_name_the_second_gets_a_longer_one(tmp_path: Path, desk: Desk) -> None:
    folder = tmp_path / "in"
    for name in ("photo.bmp", "photo.gif", "photo.png", "other.bmp", "other.tga", "third.png"):
        write_picture(folder / name)
    assert counts(desk.run(folder)) == (6, 0, 0)
    expected = ["other.png", "other.tga.png", "photo.bmp.png", "photo.gif.png", "photo.png", "third.png"]
    assert tree(tmp_path / "in_x4") == [JOURNAL_NAME, *expected]
    names = {Path(r.input).name: Path(r.output or "").name for r in desk.records}
    assert (names["photo.png"], names["other.bmp"]) == ("photo.png", "other.png")
    assert counts(desk.run(folder)) == (0, 6, 0)
    assert counts(desk.run(folder / "photo.png", folder / "photo.bmp")) == (2, 0, 0)
    assert {"photo_x4.png", "photo.bmp_x4.png"} <= set(tree(folder))
    write_picture(folder / "photo.jpg")
    desk.run(folder / "photo.png", folder / "photo.jpg", samples=2, stability_map=True, output=tmp_path / "maps")
    assert [p.name for p in sorted((tmp_path / "maps" / "stability").iterdir())] == [
        "photo.jpg_std.png", "photo.jpg_std_overlay.png", "photo_std.png", "photo_std_overlay.png",
    ]  # fmt: skip
    write_picture(folder / "photo_t999.png")
    desk.run(folder / "photo.png", folder / "photo_t999.png", output=tmp_path / "steps", intermediates=True)
    assert tree(tmp_path / "steps") == [
        JOURNAL_NAME, "photo.png", "photo_t999.png", "photo_t999.png.png", "photo_t999.png_t999.png",
    ]  # fmt: skip


@pytest.mark.parametrize("moved", ["both", "input", "dates"])
def test_a_moved_folder_goes_on(tmp_path: Path, desk: Desk, moved: str) -> None:
    for n in range(3):
        write_picture(tmp_path / "disk" / "in" / f"{n}.png", seed=n)
    folder, out = tmp_path / "disk" / "in", tmp_path / "disk" / "out"
    assert counts(desk.run(folder, output=out)) == (3, 0, 0)
    (out / "2.png").unlink()
    if moved == "both":
        (tmp_path / "disk").rename(tmp_path / "mounted elsewhere")
        folder, out = (tmp_path / "mounted elsewhere" / name for name in ("in", "out"))
    elif moved == "input":
        folder = (tmp_path / "disk" / "in").rename(tmp_path / "moved")
    else:
        for path in folder.iterdir():
            os.utime(path, ns=(1, 1))
    assert counts(desk.run(folder, output=out)) == (1, 2, 0)
    # What is known of a content stands on: the next run does not read it.
    unread = Fingerprint.__dict__["sha256"].func
    asked: list[Path] = []

    def asking(fingerprint: Fingerprint) -> str | None:
        asked.append(fingerprint.input)
        return unread(fingerprint)  # type: ignore[no-any-return]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fingerprint, "sha256", property(asking))
        assert counts(desk.run(folder, output=out)) == (0, 3, 0)
    assert asked == []


def test_a_broken_file_needs_no_pipeline_and_no_estimate_counts_on_it_again(tmp_path: Path, desk: Desk) -> None:
    whole = write_picture(tmp_path / "in" / "cut.jpg", 64, 64).read_bytes()
    (tmp_path / "in" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    job = Job([tmp_path / "in"], desk.model)
    assert [task.has_failed for task in prepare(job, desk.options()).tasks] == [False]
    assert counts(desk.run(tmp_path / "in")) == (0, 0, 1)
    assert [task.has_failed for task in prepare(job, desk.options()).tasks] == [True]
    assert counts(desk.run(tmp_path / "in")) == (0, 0, 1), "it is tried again all the same"
    assert desk.pipeline.loads == 0
    (tmp_path / "in" / "cut.jpg").write_bytes(whole)
    assert [task.has_failed for task in prepare(job, desk.options()).tasks] == [False]
    assert counts(desk.run(tmp_path / "in")) == (1, 0, 0)


def test_names_that_differ_in_case_alone_are_told_apart_on_any_disk(tmp_path: Path, desk: Desk) -> None:
    folder = tmp_path / "in"
    write_picture(folder / "a.PNG")
    write_picture(folder / "a.bmp")
    assert counts(desk.run(folder)) == (2, 0, 0)
    assert tree(tmp_path / "in_x4") == [JOURNAL_NAME, "a.PNG", "a.bmp.png"]


def test_another_folder_with_the_same_names_is_not_taken_for_a_moved_one(tmp_path: Path, desk: Desk) -> None:
    """Frames of one size and one date, as out of an archive."""
    for n, name in enumerate(("one", "other")):
        write_picture(tmp_path / name / "frame.bmp", seed=n)
        os.utime(tmp_path / name / "frame.bmp", ns=(7, 7))
    desk.run(tmp_path / "one", output=tmp_path / "out")
    assert counts(desk.run(tmp_path / "other", output=tmp_path / "out")) == (0, 0, 1)
    assert "made from another picture" in (desk.records[0].error or "")
    shutil.copyfile(tmp_path / "one" / "frame.bmp", tmp_path / "other" / "frame.bmp")
    assert counts(desk.run(tmp_path / "other", output=tmp_path / "out")) == (0, 1, 0)


def test_one_failure_never_stops_the_rest(tmp_path: Path, desk: Desk) -> None:
    def fail(call: int) -> None:
        if call == 1:
            raise ModelOutputError("the network returned one flat colour", hint="try --dtype fp32")
        if call == 2:
            raise RuntimeError("shapes\ndo not match")
        if call == 3:
            raise MemoryError

    desk.pipeline = PillowPipeline(fail)
    pictures = [write_picture(tmp_path / "in" / f"{n}.png") for n in range(4)]
    assert counts(desk.run(tmp_path / "in")) == (1, 0, 3)
    assert [r.error for r in desk.records] == [
        f"{pictures[0]}: the network returned one flat colour (try --dtype fp32)",
        f"{pictures[1]}: unexpected RuntimeError: shapes do not match (-v shows where it comes from)",
        f"{pictures[2]}: there is not enough memory (set a smaller --tile and --vae-tile)",
        None,
    ]
    desk.pipeline = PillowPipeline()
    assert counts(desk.run(tmp_path / "in")) == (3, 1, 0), "failed ones are tried again"


def test_what_the_pipeline_refuses_for_all_pictures_stops_the_run(tmp_path: Path, desk: Desk) -> None:
    def refuse(call: int) -> None:
        raise OptionError("tiny has no negative embedding")

    desk.pipeline = PillowPipeline(refuse)
    with pytest.raises(OptionError, match="no negative embedding"):
        desk.run(write_picture(tmp_path / "a.png"), write_picture(tmp_path / "b.png"))
    assert desk.pipeline.calls == 1


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, desk: Desk) -> None:
    def interrupt(call: int) -> None:
        if call == 2:
            raise KeyboardInterrupt

    for n in range(3):
        write_picture(tmp_path / "in" / f"{n}.png", seed=n)
    desk.pipeline = PillowPipeline(interrupt)
    summary = desk.run(tmp_path / "in", output=tmp_path / "stopped")
    assert (counts(summary), summary.interrupted) == ((1, 0, 0), True)
    assert tree(tmp_path / "stopped") == [JOURNAL_NAME, "0.png"]
    desk.pipeline = PillowPipeline()
    assert counts(desk.run(tmp_path / "in", output=tmp_path / "stopped")) == (2, 1, 0)
    desk.run(tmp_path / "in", output=tmp_path / "whole")
    for n in range(3):
        assert (tmp_path / "stopped" / f"{n}.png").read_bytes() == (tmp_path / "whole" / f"{n}.png").read_bytes()


@pytest.mark.parametrize("kind", [Started, Advanced, Finished])
def test_a_listener_may_stop_a_job_at_any_event(tmp_path: Path, desk: Desk, kind: type) -> None:
    for n in range(5):
        write_picture(tmp_path / "in" / f"{n}.png", seed=n)

    def listen(event: object) -> None:
        if isinstance(event, kind):
            raise Stop

    summary = run(Job([tmp_path / "in"], desk.model), desk.pipeline.load, desk.options(), listen)
    assert summary.interrupted
    made = len(list((tmp_path / "in_x4").glob("*.png")))
    assert made < 5
    assert counts(desk.run(tmp_path / "in")) == (5 - made, made, 0)


def test_a_run_stopped_between_the_result_and_its_line_goes_on(tmp_path: Path, desk: Desk) -> None:
    write_picture(tmp_path / "in" / "a.png")
    desk.run(tmp_path / "in")
    with sqlite3.connect(tmp_path / "in_x4" / JOURNAL_NAME) as connection:
        connection.execute("UPDATE results SET state = 'started'")
    assert counts(desk.run(tmp_path / "in")) == (1, 0, 0)


def test_a_run_stopped_at_other_options_does_not_make_its_file_ours(tmp_path: Path, desk: Desk) -> None:
    """One that another run left half done while this one was at others: its line is of another result."""
    for n in range(8):
        write_picture(tmp_path / "in" / f"{n}.png", seed=n)
    desk.run(tmp_path / "in", seed=1)
    theirs = tmp_path / "in_x4" / "7.png"
    left = theirs.read_bytes()
    for n in range(8):
        (tmp_path / "in_x4" / f"{n}.png").unlink()
    with sqlite3.connect(tmp_path / "in_x4" / JOURNAL_NAME) as connection:
        connection.execute("UPDATE results SET state = 'started'")

    def appear(call: int) -> None:
        if call == 1:
            theirs.write_bytes(left)

    desk.pipeline = PillowPipeline(appear)
    assert counts(desk.run(tmp_path / "in", seed=2)) == (7, 0, 1)
    assert theirs.read_bytes() == left
    desk.pipeline = PillowPipeline()
    assert counts(desk.run(tmp_path / "in", seed=1)) == (1, 0, 7), "the run that was stopped goes on with its own"


@pytest.mark.parametrize("output", [None, "out"], ids=["beside its input", "in a folder of results"])
def test_a_file_that_appears_while_others_are_made_is_left_alone(
    tmp_path: Path, desk: Desk, output: str | None
) -> None:
    pictures = [write_picture(tmp_path / f"{n}.png", seed=n) for n in range(8)]
    appearing = tmp_path / output / "7.png" if output else tmp_path / "7_x4.png"

    def appear(call: int) -> None:
        if call == 1:
            appearing.write_bytes(b"the user's own")

    desk.pipeline = PillowPipeline(appear)
    assert counts(desk.run(*pictures, output=tmp_path / output if output else None)) == (7, 0, 1)
    assert appearing.read_bytes() == b"the user's own"
    assert desk.records[7].error == (
        f"{pictures[7]}: {appearing} exists, and ccsr has no record of making it (--overwrite replaces it)"
    )


def test_a_result_is_in_its_journal_before_the_next_is_written(
    tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a kill costs one result at most, however many are waiting to be written."""
    save = images.save
    waiting, unknown = threading.Event(), list[str]()

    def looking(picture: images.Picture, path: Path, **how: object) -> list[str]:
        waiting.wait()  # until more than one is made
        with sqlite3.connect(tmp_path / "in_x4" / JOURNAL_NAME) as connection:
            known = dict(connection.execute("SELECT output, state FROM results"))
        there = [p.name for p in path.parent.glob("*.png") if p != path]
        unknown.extend(name for name in there if known[name] != "done")
        return save(picture, path, **how)  # type: ignore[arg-type]

    def made(call: int) -> None:
        if call == 3:
            waiting.set()

    monkeypatch.setattr(images, "save", looking)
    desk.pipeline = PillowPipeline(made)
    for n in range(20):
        write_picture(tmp_path / "in" / f"{n:02d}.png", seed=n)
    assert counts(desk.run(tmp_path / "in")) == (20, 0, 0)
    assert unknown == []


def test_samples_differ_and_lie_in_folders_of_their_own(tmp_path: Path, desk: Desk) -> None:
    write_picture(tmp_path / "in" / "sub" / "a.png")
    desk.run(tmp_path / "in", samples=2)
    out = tmp_path / "in_x4"
    assert tree(out) == [JOURNAL_NAME, "sample00/sub/a.png", "sample01/sub/a.png"]
    assert (out / "sample00/sub/a.png").read_bytes() != (out / "sample01/sub/a.png").read_bytes()
    assert [r.output for r in desk.records] == [str(out / f"sample0{n}/sub/a.png") for n in range(2)]
    assert counts(desk.run(tmp_path / "in", samples=3)) == (1, 2, 0)


def test_intermediates_are_written_before_the_result(tmp_path: Path, desk: Desk) -> None:
    desk.run(write_picture(tmp_path / "a.jpg"), intermediates=True)
    assert tree(tmp_path) == ["a.jpg", "a_x4.jpg", "a_x4_t999.png"]


def test_transparency_is_enlarged_with_the_picture(tmp_path: Path, desk: Desk) -> None:
    alpha = np.zeros((8, 12), np.uint8)
    alpha[:, 6:] = 255
    picture = np.dstack([np.full((8, 12, 3), 90, np.uint8), alpha])
    Image.fromarray(picture).save(tmp_path / "a.png")
    desk.run(tmp_path / "a.png")
    expected = np.asarray(Image.fromarray(alpha).resize((48, 32), Image.Resampling.BICUBIC), int)
    result = np.asarray(Image.open(tmp_path / "a_x4.png"), int)
    assert np.abs(result[..., 3] - expected).max() <= 1
    assert (result[..., :3] == 90).all()


def test_names_are_checked_before_anything_is_written(tmp_path: Path, desk: Desk) -> None:
    a = write_picture(tmp_path / "x" / "a.bmp")
    b = write_picture(tmp_path / "y" / "a.png")
    other = write_picture(tmp_path / "z" / "a.png")
    c, d = write_picture(tmp_path / "y" / "c.png"), write_picture(tmp_path / "z" / "c.png")
    with pytest.raises(OptionError) as told:
        desk.run(a, b, c, other, d, output=tmp_path / "out")
    assert str(told.value) == (
        f"{tmp_path}/out/a.png: {b} and {other} would both be written here; "
        f"{tmp_path}/out/c.png: {c} and {d} would both be written here"
        " (rename one of them, or upscale them into two folders)"
    ), "all of them, and not a.bmp, which gets a longer name"
    with pytest.raises(OptionError, match="would be written over the input"):
        desk.run(b, output=b)
    assert not (tmp_path / "out").exists()
    assert desk.pipeline.loads == 0


def test_an_input_that_changes_meanwhile_is_reported_and_done_again(tmp_path: Path, desk: Desk) -> None:
    picture = write_picture(tmp_path / "in" / "a.png")
    desk.pipeline = PillowPipeline(lambda call: os.utime(picture, ns=(5, 5)))
    desk.run(tmp_path / "in")
    assert desk.records[0].warnings == ("the input changed while it was being upscaled",)
    assert counts(desk.run(tmp_path / "in")) == (0, 0, 1)


def test_impossible_sizes_fail_by_picture_and_impossible_settings_at_once(tmp_path: Path, desk: Desk) -> None:
    small, large = write_picture(tmp_path / "small.png", 10, 10), write_picture(tmp_path / "large.png", 40, 10)
    assert counts(desk.run(small, large, width=120)) == (1, 0, 1)
    assert desk.records[0].error == (
        f"{small}: 10x10 to 120x120 is not between 1 and 8 times the side (choose another --scale or target size)"
    )
    assert desk.records[1].scale == 3
    with pytest.raises(OptionError, match="leaves no step between them"):
        desk.run(small, T=6, t_max="1/6", t_min="1/6")
    with pytest.raises(OptionError, match="--device"):
        desk.run(small, device="toaster")


def test_preparing_writes_nothing(tmp_path: Path, desk: Desk) -> None:
    write_picture(tmp_path / "in" / "a.png")
    tasks = prepare(Job([tmp_path / "in"], desk.model), desk.options()).tasks
    assert [task.planned.output for task in tasks if task.planned] == [tmp_path / "in_x4" / "a.png"]
    assert tree(tmp_path) == ["in/a.png"]


# -- batches ----------------------------------------------------------------------------------------------------------


def test_neighbours_of_one_size_are_computed_together_and_told_in_order(tmp_path: Path, desk: Desk) -> None:
    sizes = [(12, 8), (12, 8), (12, 8), (8, 12), (12, 8)]
    for n, size in enumerate(sizes):
        write_picture(tmp_path / "in" / f"{n}.png", *size, seed=n)
    (tmp_path / "in" / "1.png").write_bytes((tmp_path / "in" / "1.png").read_bytes()[:-30])
    seen: list[int] = []
    together = desk.pipeline.upscale_batch

    def counting(batch, *rest):  # type: ignore[no-untyped-def]
        seen.append(len(batch))
        return together(batch, *rest)

    desk.pipeline.upscale_batch = counting  # type: ignore[method-assign]
    assert counts(desk.run(tmp_path / "in", output=tmp_path / "together", batch_size=3)) == (4, 0, 1)
    assert seen == [2], "0 and 2: 1 is damaged, 3 is of another size, and 4 follows it"
    assert [Path(r.input).name for r in desk.records] == [f"{n}.png" for n in range(5)]
    desk.run(tmp_path / "in", output=tmp_path / "alone")
    for n in (0, 2, 3, 4):
        ours, theirs = (np.asarray(Image.open(tmp_path / f / f"{n}.png"), int) for f in ("together", "alone"))
        assert np.abs(ours - theirs).max() <= 3


def test_a_batch_that_fails_is_tried_one_by_one(tmp_path: Path, desk: Desk) -> None:
    def fail(call: int) -> None:
        if call in (1, 3):  # the batch at its first picture, then the second of them alone
            raise MemoryError

    desk.pipeline = PillowPipeline(fail)
    for n in range(3):
        write_picture(tmp_path / "in" / f"{n}.png", seed=n)
    assert counts(desk.run(tmp_path / "in", batch_size=3)) == (2, 0, 1)
    assert [r.status for r in desk.records] == ["done", "failed", "done"]
    assert counts(desk.run(tmp_path / "in", batch_size=3)) == (1, 2, 0)


def test_claims_made_together_are_entered_at_once_or_not_at_all(tmp_path: Path) -> None:
    entries = [Fingerprint(Path(f"{n}.png"), 10, 1, "options", "model") for n in range(500)]
    outputs = [tmp_path / f"{n}.png" for n in range(500)]
    with Journal(tmp_path) as journal, Journal(tmp_path) as other:

        def stopped() -> None:
            with journal.together():
                assert journal.claim(outputs[0], entries[0]) == "claimed"
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stopped()
        assert journal.state_of(outputs[0], entries[0]) is None
        with journal.together():
            assert {journal.claim(o, e) for o, e in zip(outputs, entries, strict=True)} == {"claimed"}
            assert other.state_of(outputs[0], entries[0]) is None
        assert {other.claim(o, e) for o, e in zip(outputs, entries, strict=True)} == {"taken"}
        journal.finish(outputs[0], 1.0)
        outputs[0].write_bytes(b"")
        assert other.claim(outputs[0], entries[0]) == "done"
    with Journal(tmp_path) as journal:
        assert journal.claim(outputs[1], entries[1]) == "resumed"
    assert {p.name for p in tmp_path.iterdir()} == {JOURNAL_NAME, "0.png"}


# -- side by side -----------------------------------------------------------------------------------------------------


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccsr.plan.resolve_machine", lambda options: ("cpu", "fp32", options.threads or 4))


@pytest.mark.usefixtures("four_cores")
def test_small_pictures_are_computed_side_by_side_and_told_in_order(tmp_path: Path, desk: Desk) -> None:
    together = threading.Barrier(4)

    def meet(call: int) -> None:
        # Nobody goes on until four are at work; the fifth and later do not wait.
        if call <= 4:
            together.wait(600)
        if call == 6:
            raise MemoryError

    desk.pipeline = PillowPipeline(meet)
    for n in range(9):
        write_picture(tmp_path / "in" / f"{n}.png", seed=n)
    (tmp_path / "in" / "7.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert counts(desk.run(tmp_path / "in", output=tmp_path / "lanes", threads=None)) == (7, 0, 2)
    assert [Path(r.input).name for r in desk.records] == [f"{n}.png" for n in range(9)]
    assert {r.threads for r in desk.records if r.status == "done"} == {1}
    desk.pipeline = PillowPipeline()
    assert counts(desk.run(tmp_path / "in", output=tmp_path / "lanes", threads=None)) == (1, 7, 1)
    desk.run(tmp_path / "in", output=tmp_path / "alone", threads=1)
    for n in set(range(9)) - {7}:
        assert (tmp_path / "lanes" / f"{n}.png").read_bytes() == (tmp_path / "alone" / f"{n}.png").read_bytes()


@pytest.mark.usefixtures("four_cores")
def test_a_large_picture_is_computed_alone(tmp_path: Path, desk: Desk) -> None:
    at_work: list[int] = []
    busy: set[int] = set()

    class Watched(PillowPipeline):
        def upscale(self, picture, options, plan, sample=0, on_progress=None):  # type: ignore[no-untyped-def]
            me = threading.get_ident()
            busy.add(me)
            time.sleep(0.02)
            if len(picture) > 64:
                at_work.append(len(busy))
            busy.discard(me)
            return super().upscale(picture, options, plan, sample, on_progress)

    desk.pipeline = Watched()
    for n, side in enumerate((16, 16, 80, 16, 16, 80, 80, 16)):
        write_picture(tmp_path / "in" / f"{n}.png", side, side)
    assert counts(desk.run(tmp_path / "in", threads=None)) == (8, 0, 0)
    assert at_work == [1, 1, 1]
    assert [r.threads for r in desk.records] == [1, 1, 4, 1, 1, 4, 4, 1]


@pytest.mark.usefixtures("four_cores")
def test_reading_and_writing_wait_for_each_other(tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the disk is, no more pictures are held than those at work and a few."""
    held: list[int] = []
    read, save = images.load, images.save
    count = 0

    def counting(path: Path) -> images.Picture:
        nonlocal count
        count += 1
        held.append(count)
        return read(path)

    def slow(picture: images.Picture, path: Path, **how: object) -> list[str]:
        nonlocal count
        time.sleep(0.03)
        left_out = save(picture, path, **how)  # type: ignore[arg-type]
        count -= 1
        return left_out

    monkeypatch.setattr(images, "load", counting)
    monkeypatch.setattr(images, "save", slow)
    for n in range(40):
        write_picture(tmp_path / "in" / f"{n:02d}.png")
    assert counts(desk.run(tmp_path / "in", threads=None)) == (40, 0, 0)
    assert max(held) <= 4 * 5


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on files there")
def test_a_file_that_a_killed_process_left_is_swept(tmp_path: Path, desk: Desk) -> None:
    write_picture(tmp_path / "in" / "a.png")
    left = tmp_path / "in_x4" / ".0123456789abcdef.ccsr-part"
    left.parent.mkdir()
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    assert counts(desk.run(tmp_path / "in")) == (1, 0, 0)
    assert not left.exists()


def test_a_thread_ends_with_what_it_held() -> None:
    """One that frees a tensor while the interpreter ends would take the process down, after its work was done."""
    gone = threading.Event()

    class Large:
        def make(self) -> int:
            return 1

        def __del__(self) -> None:
            time.sleep(0.3)
            gone.set()

    outcomes: SimpleQueue[int] = SimpleQueue()
    thread = WorkerThread("lane")
    thread.submit(outcomes, Large().make)
    assert outcomes.get() == 1
    thread.close()
    assert gone.is_set()


def test_a_thread_that_hangs_is_left() -> None:
    thread = WorkerThread("reader")
    disk = threading.Event()
    thread.submit(SimpleQueue(), disk.wait)
    thread.close()
    assert not disk.is_set()
    disk.set()
