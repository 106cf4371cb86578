"""`--dry-run`: what a person reads, what an engineer reads with -v, and what a program reads."""

import json
from pathlib import Path
from typing import Any

import pytest

from ccsr.cli.main import main
from helpers import write_picture


@pytest.fixture(autouse=True)
def _seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every result takes as long, on any machine."""
    monkeypatch.setattr("ccsr.plan.estimated_seconds", lambda plan: 30.0)


def told(capsys: pytest.CaptureFixture[str], model: str, *words: str, code: int = 0) -> list[str]:
    machine = ["-m", model, "--threads", "1", "--dtype", "fp32", "--device", "cpu"]
    assert main(["upscale", *words, "--dry-run", *machine]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_a_person_reads_sizes_time_and_memory(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "a.png", 300, 200)
    write_picture(desk / "b.png", 30, 20)
    lines = told(capsys, tiny, "a.png", "b.png", "-o", "out")
    assert lines[:3] == [
        "a.png: 300x200 to 1200x800 (1.0 megapixels), about 30 s: out/a.png",
        "b.png: 30x20 to 120x80 (0.01 megapixels), about 30 s: out/b.png",
        "in all: 2 pictures, 1.0 megapixels, about 60 s",
    ]
    assert lines[3].startswith("needed meanwhile: about ")
    assert lines[3].endswith(" MB of memory")
    assert lines[4:] == ["nothing was written: this was a dry run"]
    assert not any(word in " ".join(lines) for word in ("tile", "fp32", "cpu", "threads", "timestep"))
    assert sorted(p.name for p in desk.iterdir()) == ["a.png", "b.png"]


def test_an_engineer_reads_how_with_v(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "a.png", 300, 200)
    lines = told(capsys, tiny, "a.png", "-v", "--tile", "512", "--vae-tile", "256", "--steps", "2")
    assert lines[0].startswith("a.png: 300x200 to 1200x800 ")
    assert lines[1].startswith(
        "  tile 512, VAE tile 256, cpu, fp32, 1 threads, 1 at a time, timesteps 999 499, computed at 1200x800, "
    )


def test_several_results_of_a_picture_are_one_line(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "in" / "a.png", 30, 20)
    lines = told(capsys, tiny, "in/a.png", "--samples", "4", "--scale", "2")
    assert lines[0] == (
        "in/a.png: 30x20 to 60x40 (0.002 megapixels), about 2 min: 4 results, in/a_x2_s00.png to a_x2_s03.png"
    )
    assert lines[1] == "in all: 4 results of 1 picture, 0.01 megapixels, about 2 min"


def test_what_was_made_and_what_cannot_be_is_counted(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abc":
        write_picture(desk / f"{name}.png", 30, 20)
    (desk / "no.txt").write_text("x")
    machine = ["-m", tiny, "--threads", "1", "--dtype", "fp32", "--device", "cpu"]
    assert main(["upscale", "a.png", "-q", *machine]) == 0
    lines = told(capsys, tiny, "a.png", "b.png", "c.png", "no.txt", code=1)
    assert lines[0] == "a.png: a_x4.png made before"
    assert lines[3].startswith("error: no.txt: not a picture")
    assert lines[4] == "in all: 2 pictures, 0.02 megapixels, about 60 s; 1 made before; 1 impossible, see above"
    lines = told(capsys, tiny, "a.png")
    assert lines[1:] == ["in all: nothing to make; 1 made before", "nothing was written: this was a dry run"]


def test_a_large_picture_tells_the_disk_it_needs(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "a.png", 1200, 1000)
    lines = told(capsys, tiny, "a.png")
    assert lines[0].startswith("a.png: 1200x1000 to 4800x4000 (19 megapixels), ")
    # For each pixel of the result three floats in two files, what is written and this model's latents, 24 + 6 + 16
    # bytes; for each of the photo 12.
    assert lines[2].endswith(" of memory, and 898 MB of disk for working files beside the results")


def test_json_stays_as_it_is(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "a.png", 300, 200)
    (desk / "no.txt").write_text("x")
    assert main(["upscale", "a.png", "no.txt", "--dry-run", "--json", "-m", tiny, "--device", "cpu"]) == 1
    captured = capsys.readouterr()
    lines: list[dict[str, Any]] = [json.loads(line) for line in captured.out.splitlines()]
    assert captured.err == ""
    assert list(lines[0]) == [
        "input", "output", "status", "error", "width", "height", "tile", "vae_tile", "memory_bytes", "disk_bytes",
        "device", "dtype", "threads", "estimated_seconds",
    ]  # fmt: skip
    assert (lines[0]["status"], lines[0]["width"], lines[0]["output"]) == ("planned", 1200, "a_x4.png")
    assert lines[0]["estimated_seconds"] == 30.0
    assert (lines[1]["status"], lines[1]["output"]) == ("failed", None)
