"""`ccsr upscale` through its front, with the real pipeline and a tiny model of random weights."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ccsr.cli.main import main
from helpers import interrupted, write_picture

ROOT = Path(__file__).parents[2]


def upscale(model: str, *words: str) -> int:
    return main(["upscale", *words, "-m", model, "--threads", "1", "--dtype", "fp32", "--device", "cpu"])


def json_lines(captured: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in captured.splitlines()]


def test_one_picture(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "photo.png", 10, 7)
    assert upscale(tiny, "photo.png") == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0].startswith("done: photo_x4.png 40x28 in ")
    assert lines[1].startswith("1 done, 0 skipped, 0 failed in ")
    assert Image.open("photo_x4.png").size == (40, 28)


def test_more_steps_than_are_of_use_are_told(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "photo.png", 10, 7)
    said = "note: nano's results hardly change with more than --steps 1"
    for model, words, told in (("nano", "--steps 2", True), ("nano", "--T 6", False), (tiny, "--steps 2", False)):
        assert upscale(model, "photo.png", *words.split(), "--overwrite") == 0
        assert (said in capsys.readouterr().err.splitlines()) == told


def test_a_folder_with_broken_files(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "in" / "a.png")
    write_picture(desk / "in" / "sub" / "b.webp")
    (desk / "in" / "notes.txt").write_text("no picture")
    (desk / "in" / "raw.nef").write_bytes(b"II*\0")
    (desk / "in" / "empty.jpg").write_bytes(b"")
    assert upscale(tiny, "in", "--json", "-q") == 1
    captured = capsys.readouterr()
    *results, summary = json_lines(captured.out)
    assert [(r["input"], r["status"]) for r in results] == [
        ("in/a.png", "done"), ("in/empty.jpg", "failed"), ("in/raw.nef", "unread"), ("in/sub/b.webp", "done"),
    ]  # fmt: skip
    assert results[3]["output"] == "in_x4/sub/b.webp"
    assert {k: v for k, v in summary["summary"].items() if k != "seconds"} == {
        "done": 2, "skipped": 0, "failed": 1, "unread": 1, "passed_over": 1,
    }  # fmt: skip
    assert captured.err.splitlines() == ["error: in/empty.jpg: the file is empty"]
    assert upscale(tiny, "in", "--json", "-q") == 1
    assert json_lines(capsys.readouterr().out)[-1]["summary"]["skipped"] == 2


def test_a_camera_folder_is_no_failure(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(3):
        write_picture(desk / "in" / f"{n}.jpg", seed=n)
        (desk / "in" / f"{n}.xmp").write_text("<xmp/>")
        (desk / "in" / f"{n}.CR2").write_bytes(b"II*\0\x10\0\0\0CR\x02\0")
    (desk / "in" / "film.mov").write_bytes(b"\0\0\0\x14ftypqt  \0\0\0\0qt  ")
    (desk / "empty").mkdir()
    assert upscale(tiny, "in", "empty", "--no-progress") == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("note: in/0.CR2 and 2 more: ")
    assert lines[1:3] == ["note: 4 other files (3 .xmp, 1 .mov) passed over", "note: there is no picture in empty"]
    assert lines[-1].startswith("3 done, 0 skipped, 0 failed, 3 not read in ")
    assert upscale(tiny, "in", "-q") == 0
    assert capsys.readouterr().err == ""
    assert upscale(tiny, "in", "--dry-run") == 0
    assert not any(line.startswith("error: ") for line in capsys.readouterr().err.splitlines())
    assert upscale(tiny, "in/0.CR2", "in/0.xmp") == 1
    assert upscale(tiny, "empty") == 2


def test_a_second_run_on_one_picture_tells_the_truth(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "man.png")
    assert upscale(tiny, "man.png") == 0
    capsys.readouterr()
    assert upscale(tiny, "man.png") == 0
    assert capsys.readouterr().err.splitlines()[0] == "skipped: man_x4.png was made before"
    assert upscale(tiny, "man.png", "--seed", "1") == 1
    assert capsys.readouterr().err.splitlines()[0] == (
        "error: man.png: man_x4.png exists, made with other options (--overwrite replaces it)"
    )


def test_two_results_of_one_name_are_told(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "in" / "photo.bmp")
    write_picture(desk / "in" / "photo.png")
    assert upscale(tiny, "in") == 0
    assert capsys.readouterr().err.splitlines()[0] == (
        "note: in/photo.bmp would have the same result as another picture, so that of photo.bmp is photo.bmp.png"
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["photo.png"], "photo.png is no command (did you mean ccsr upscale photo.png?)"),
        (["folder"], "folder is no command (did you mean ccsr upscale folder?)"),
        (["-s", "2", "photo.png"], "no command is given (did you mean ccsr upscale -s 2 photo.png?)"),
        (["a b.jpg", "b", "c", "d"], "a b.jpg is no command (did you mean ccsr upscale 'a b.jpg' b c ...?)"),
        (["upscal"], "no command is called upscal (did you mean upscale?)"),
        (["upscale", "-x.png"], "-x.png reads like an option (the file of that name is ./-x.png)"),
        (["upscale", "-y.png"], "no option is called -y.png (a file of that name is ./-y.png)"),
        (
            ["upscale", "photo.png", "-o", "-"],
            "results are not written to standard output (give -o a file or a folder)",
        ),
        (["upscale", "-"], "pictures are not read from standard input (name a file or a folder)"),
    ],
)
def test_slips_of_the_hand_get_a_hint(
    desk: Path, capsys: pytest.CaptureFixture[str], words: list[str], error: str
) -> None:
    for name in ("photo.png", "-x.png", "folder/a.png"):
        write_picture(desk / name)
    assert main(words) == 2
    assert capsys.readouterr().err == f"error: {error}\n"


def test_estimates_leave_out_what_failed_and_know_of_work_side_by_side(
    desk: Path, tiny: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccsr.plan.resolve_machine", lambda options: ("cpu", "fp32", options.threads or 12))
    monkeypatch.setattr("ccsr.plan.estimated_seconds", lambda plan: 12.0)
    for n in range(12):
        write_picture(desk / "in" / f"{n:02d}.png", 16, 16)
    (desk / "in" / "00.png").write_bytes((desk / "in" / "00.png").read_bytes()[:-40])
    words = ["upscale", "in", "-m", tiny, "--dtype", "fp32", "--device", "cpu"]
    assert main([*words, "--dry-run"]) == 0
    assert "in all: 12 pictures, 0.05 megapixels, about 12 s" in capsys.readouterr().err.splitlines()
    assert main([*words[:1], "in/01.png", *words[2:], "--dry-run"]) == 0
    assert "in all: 1 picture, 0.004 megapixels, about 12 s" in capsys.readouterr().err.splitlines()
    assert main([*words, "--threads", "1", "-q", "-o", "out"]) == 1
    for path in Path("out").glob("*.png"):
        path.unlink()
    assert main([*words, "--threads", "1", "-o", "out", "--dry-run"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert (
        "in/00.png: 16x16 to 64x64 (0.004 megapixels), about 12 s, could not be upscaled before, is tried again:"
        " out/00.png"
    ) in lines
    assert "in all: 11 pictures, 0.05 megapixels, about 2 min; 1 to be tried again" in lines


def test_bytes_are_the_same_alone_in_a_folder_in_any_order_and_again(desk: Path, tiny: str) -> None:
    for n in range(3):
        write_picture(desk / "in" / f"{n}.png", 9 + n, 8, seed=n)
    assert upscale(tiny, "in", "--steps", "2") == 0
    assert upscale(tiny, "in/2.png", "in/1.png", "in/0.png", "-o", "reversed", "--steps", "2") == 0
    assert upscale(tiny, "in/1.png", "-o", "alone.png", "--steps", "2") == 0
    for n in range(3):
        assert Path(f"in_x4/{n}.png").read_bytes() == Path(f"reversed/{n}.png").read_bytes()
    assert Path("alone.png").read_bytes() == Path("in_x4/1.png").read_bytes()
    assert upscale(tiny, "in/1.png", "-o", "other.png", "--steps", "2", "--seed", "1") == 0
    assert Path("other.png").read_bytes() != Path("alone.png").read_bytes()


def test_two_inputs_with_one_result_stop_the_run(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "x" / "a.png")
    write_picture(desk / "y" / "a.png")
    assert upscale(tiny, "x", "y", "-o", "out") == 2
    assert capsys.readouterr().err == (
        "error: out/a.png: x/a.png and y/a.png would both be written here"
        " (rename one of them, or upscale them into two folders)\n"
    )
    assert not Path("out").exists()


def test_an_existing_result_is_kept_until_overwrite(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "a.png")
    Path("a_x4.png").write_bytes(b"precious")
    assert upscale(tiny, "a.png") == 1
    assert capsys.readouterr().err.splitlines()[0] == (
        "error: a.png: a_x4.png exists, and ccsr has no record of making it (--overwrite replaces it)"
    )
    assert Path("a_x4.png").read_bytes() == b"precious"
    assert upscale(tiny, "a.png", "--overwrite") == 0
    assert Image.open("a_x4.png").size == (48, 32)


def test_intermediates_and_samples_of_one_picture(desk: Path, tiny: str) -> None:
    write_picture(desk / "a.png")
    assert upscale(tiny, "a.png", "--steps", "2", "--samples", "2", "--intermediates") == 0
    assert sorted(p.name for p in desk.iterdir()) == sorted(
        ["a.png", *(f"a_x4_s0{n}{end}.png" for n in range(2) for end in ("", "_t999", "_t499"))]
    )
    last = np.asarray(Image.open("a_x4_s00_t499.png"), int)
    assert np.abs(last - np.asarray(Image.open("a_x4_s00.png"), int)).max() <= 1, "the last estimate is the result"


def test_inputs_may_follow_options_and_begin_with_a_dash(desk: Path, tiny: str) -> None:
    write_picture(desk / "a.png")
    write_picture(desk / "-b.png")
    words = [
        "upscale",
        "-s",
        "2",
        "-m",
        tiny,
        "-o",
        "out",
        "--threads",
        "1",
        "--dtype",
        "fp32",
        "--",
        "a.png",
        "-b.png",
    ]
    assert main(words) == 0
    assert sorted(p.name for p in Path("out").glob("*.png")) == ["-b.png", "a.png"]


def test_what_the_model_cannot_do_stops_the_run_in_one_line(
    desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(desk / "in" / "a.png")
    write_picture(desk / "in" / "b.png")
    assert upscale(tiny, "in", "--guidance", "4.5") == 2
    err = capsys.readouterr().err
    assert err.count("error: ") == 1
    assert "no negative embedding" in err


def test_verbose_tells_the_machine_and_long_work_is_announced(
    desk: Path, tiny: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_picture(desk / "a.png")
    monkeypatch.setattr("ccsr.cli.upscale.LONG_WORK", 0.0)
    assert upscale(tiny, "a.png", "-v") == 0
    lines = capsys.readouterr().err.splitlines()
    assert "note: tiny on cpu, fp32, 1 threads" in lines
    assert any(line.startswith("note: 1 picture, 0.002 megapixels: about ") for line in lines)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_no_half_file_and_the_next_run_goes_on(desk: Path, tiny: str, how: signal.Signals) -> None:
    for n in range(30):
        write_picture(desk / "in" / f"{n:02d}.png", 16, 16, seed=n)
    code, err = interrupted("in", "-m", tiny, "--threads", "1", "--dtype", "fp32", "--device", "cpu", by=how)
    assert code == 130
    assert err.splitlines()[-1].startswith("interrupted: ")
    assert "Traceback" not in err
    left = sorted(p.name for p in Path("in_x4").iterdir())
    assert left[0] == ".ccsr-journal.sqlite"
    assert 2 <= len(left) < 31, "interrupted in the middle"
    made = {name: (Path("in_x4") / name).stat().st_mtime_ns for name in left[1:]}
    for name in made:
        Image.open(Path("in_x4") / name).load()
    assert upscale(tiny, "in", "-q") == 0
    assert len(list(Path("in_x4").glob("*.png"))) == 30
    assert {name: (Path("in_x4") / name).stat().st_mtime_ns for name in made} == made


def test_a_bar_on_a_terminal(desk: Path, tiny: str) -> None:
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    write_picture(desk / "a.png")
    Path("b.txt").write_text("x")
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (25, 120))
    command = [
        sys.executable,
        "-m",
        "ccsr",
        "upscale",
        "a.png",
        "b.txt",
        "-o",
        "out",
        "-m",
        tiny,
        "--threads",
        "1",
        "--dtype",
        "fp32",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    running = subprocess.Popen(command, stderr=slave, env=environment)
    os.close(slave)
    shown = b""
    while True:
        try:
            block = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        shown += block
    assert running.wait() == 1
    assert b"1/2 a.png" in shown
    assert b"MP [" in shown
    assert b"error: b.txt: not a picture" in shown
    assert b"done: " not in shown


def test_the_embedded_model_needs_no_options(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "photo.jpg", 24, 16, quality=90)
    assert main(["upscale", "photo.jpg", "--json"]) == 0
    record = json_lines(capsys.readouterr().out)[0]
    assert (record["model"], record["output"]) == ("nano", "photo_x4.jpg")
    assert list(record["seconds"]) == ["load", "encode", "denoise", "decode", "color", "save"]
    assert Image.open("photo_x4.jpg").size == (96, 64)
