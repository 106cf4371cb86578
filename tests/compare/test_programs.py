"""The templates of other programs: each with a program that writes in its layout."""

import dataclasses
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from ccsr.compare.config import ComparisonConfig, load_config
from ccsr.compare.methods.command import ExternalProgram
from ccsr.compare.run import compare

TEMPLATES = Path(__file__).parents[2] / "examples" / "compare-programs.yaml"
FAKE = Path(__file__).with_name("fake_program.py")
LAYOUTS = {
    "StableSR": "{name}.png",
    "DiffBIR": "{name}_{run}.png",
    "PASD": "{name}.png",
    "SeeSR": "sample{run:02d}/{name}.png",
    "SUPIR": "{name}_{run}.png",
    "ResShift": "{name}.png",
    "SinSR": "{name}.png",
    "AddSR": "sample{run:02d}/{name}.png",
    "OSEDiff": "{name}.png",
    "CCSR v1": "sample{run}/{name}.png",
    "VOSR": "sd2_steps1_seed0_shortcut/{name}.png",
    "PiSA-SR": "{name}.png",
    "TSD-SR": "{name}.png",
    "AdcSR": "{name}.png",
    "HYPIR": "result/{name}.png",
    "InvSR": "{name}.png",
    "SeedVR2": "{name}.png",
    "CCSR v2": "sr_ccsr-v2_ddpm_006steps_lr999_size512_cfg1.0/sample{run:02d}/{name}.png",
}
"""What each program writes below its output folder, read in its source."""

ENTRIES = yaml.safe_load(TEMPLATES.read_text(encoding="utf-8"))["methods"]
COMMANDS = [entry for entry in ENTRIES if entry["kind"] == "command"]


def _layout(name: str) -> str:
    return next(layout for program, layout in LAYOUTS.items() if name.startswith(program))


def _with_fake(method: ExternalProgram, seconds: float = 0.0) -> ExternalProgram:
    """The template's own options, behind another program."""
    words = shlex.split(method.command) if isinstance(method.command, str) else list(method.command)
    script = next(i for i, word in enumerate(words) if word.endswith(".py"))
    fake = [sys.executable, str(FAKE), _layout(method.name), str(seconds)]
    # No format field of ours may be touched by the fake layout's braces.
    fake[2] = fake[2].replace("{", "<").replace("}", ">")
    return dataclasses.replace(method, command=[*fake, *words[script + 1 :]], cwd=None)


@pytest.fixture
def config(tmp_path: Path, test_set: Path) -> ComparisonConfig:
    text = TEMPLATES.read_text(encoding="utf-8")
    path = tmp_path / "programs.yaml"
    path.write_text(re.sub(r"(?m)^data: \S+", f"data: {test_set}", text), encoding="utf-8")
    loaded = load_config(path)
    return dataclasses.replace(loaded, preset="osediff", metrics=["psnr"], samples=2, panels=1)


@pytest.mark.parametrize("name", [entry["name"] for entry in COMMANDS])
def test_results_are_found(config: ComparisonConfig, tmp_path: Path, name: str) -> None:
    method = next(m for m in config.methods if m.name == name)
    assert isinstance(method, ExternalProgram)
    (row,) = compare(dataclasses.replace(config, methods=[_with_fake(method)]), tmp_path / "out").rows
    assert row.problem is None
    assert row.names == ["a", "b", "c"]
    assert row.scores is not None
    assert row.scores.runs == (2 if "{seed}" in str(method.command) else 1)
    if row.scores.runs > 1:  # other seeds, other noise
        assert all(first != second for first, second in row.scores.values["psnr"])


def test_every_rival_has_a_template_with_its_revision() -> None:
    for program in LAYOUTS:
        entries = [entry for entry in COMMANDS if entry["name"].startswith(program)]
        assert entries, program
        for entry in entries:
            assert re.search(r"[\w-]+/[\w-]+ [0-9a-f]{7}\b", entry["source"]), program
            assert entry["source"].endswith("not run here")


def test_time_of_one_picture_is_told_from_the_dates(config: ComparisonConfig, tmp_path: Path) -> None:
    method = next(m for m in config.methods if m.name == "OSEDiff")
    assert isinstance(method, ExternalProgram)
    slow = _with_fake(method, seconds=0.3)
    (row,) = compare(dataclasses.replace(config, methods=[slow]), tmp_path / "out").rows
    assert row.cost.seconds is not None
    assert row.cost.seconds >= 0.29, "it waits so long before each picture, and on a busy machine longer"
    assert len(row.cost.each) == 2
    assert row.cost.load is not None
    assert row.cost.load > 0.3
    assert "dates" in row.cost.how


def test_a_program_that_fails_is_a_row_with_its_last_line(config: ComparisonConfig, tmp_path: Path) -> None:
    method = next(m for m in config.methods if m.name == "OSEDiff")
    command = [sys.executable, "-c", "import sys; sys.exit('no such weights')", "{lr}", "{out}"]
    broken = dataclasses.replace(method, command=command, cwd=None)
    absent = dataclasses.replace(method, name="absent", command="no-such-program {lr} {out}", cwd=None)
    rows = compare(dataclasses.replace(config, methods=[broken, absent]), tmp_path / "out").rows
    assert rows[0].problem is not None
    assert "ended with code 1: no such weights (see " in rows[0].problem
    assert rows[1].problem == "no-such-program: cannot be started: No such file or directory"
